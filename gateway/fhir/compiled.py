"""Compile shapes from the models of fhir.resources (R4B), narrowed to R4 4.0.1.

What the models say of a type (elements, cardinality, primitive types, choices, reference targets) is read once. What
they do not say comes from ``codes`` and ``invariants``. The narrowing: no ``valueCodeableReference`` and
``valueRatioRange`` in an Extension, no subjects that R4B added to Observation and DiagnosticReport, no resource type
that 4.0.1 does not know.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin

from gateway.fhir import primitives
from gateway.fhir.codes import MIME_TYPED, CodeSet, required, resource_types
from gateway.fhir.invariants import invariants_of
from gateway.fhir.pointers import are_pointers, check_pointer, is_pointer
from gateway.fhir.references import references
from gateway.fhir.rules import Broken, Rule, Scope
from gateway.fhir.shapes import Shape, at_least_one, at_most_one, many, many_or_null, needs, shadow_list

_MODELS: Final = "fhir.resources.R4B"
_NOT_R4: Final = frozenset({"Extension.valueCodeableReference", "Extension.valueRatioRange"})
_R4B_SUBJECTS: Final = frozenset({"Medication", "Organization", "Practitioner", "Procedure", "Substance"})
_NOT_R4_TARGETS: Final = {"Observation.subject": _R4B_SUBJECTS, "DiagnosticReport.subject": _R4B_SUBJECTS}
_RESOURCES: Final[dict[str, Shape]] = {}


def resource_shape(kind: Any) -> Shape:
    """Return the shape of a resource type. Raises ``Broken`` when R4 4.0.1 or fhir.resources lacks the name."""
    found = _RESOURCES.get(kind) if isinstance(kind, str) else None
    if found is not None:
        return found
    if not isinstance(kind, str) or kind not in resource_types():
        raise Broken("is no resource type of FHIR R4", "resourceType")
    try:
        import_module(f"{_MODELS}.{kind.lower()}")
    except ModuleNotFoundError:
        raise Broken("is a resource type without a definition here", "resourceType") from None
    return _RESOURCES.setdefault(kind, _shape(f"{_MODELS}.{kind.lower()}.{kind}"))


def model(kind: str) -> Any:
    """Return the model of fhir.resources for a resource type. Raises ``Broken`` as ``resource_shape`` does."""
    resource_shape(kind)
    return getattr(import_module(f"{_MODELS}.{kind.lower()}"), kind)


def check_resource(value: Any, scope: Scope) -> None:
    """Raise ``Broken`` when ``value`` is not a valid resource; ``scope`` must be fresh."""
    if not isinstance(value, dict):
        raise Broken("must be an object")
    kind = value.get("resourceType")
    if kind == "Bundle":
        scope.conditional = value.get("type") == "transaction"
    resource_shape(kind).check(value, scope)
    if scope.local or "contained" in value:
        _check_contained(value, scope)


def _nested(value: Any, scope: Scope) -> None:
    """Check a resource in a Bundle or in Parameters: what it contains is its own."""
    check_resource(value, Scope(scope.conditional))


def _contained(value: Any, scope: Scope) -> None:
    """Check a resource inside another, whose scope it shares (dom-2, dom-4, dom-5)."""
    if not isinstance(value, dict):
        raise Broken("must be an object")
    resource_shape(value.get("resourceType")).check(value, scope)
    if "id" not in value:
        raise Broken("is required of a contained resource", "id")
    if "contained" in value:
        raise Broken("must not stand in a contained resource (dom-2)", "contained")
    for element in ("versionId", "lastUpdated", "security"):
        if element in value.get("meta", ()):
            raise Broken("must not stand in a contained resource (dom-4, dom-5)", "meta", element)


def _check_contained(value: dict[str, Any], scope: Scope) -> None:
    """Check that each ``#id`` is there, of a type allowed, and that nothing is contained for nothing (ref-1, dom-3)."""
    contained = {each["id"]: each["resourceType"] for each in value.get("contained", ())}
    for literal, targets in scope.local:
        kind = value["resourceType"] if literal == "#" else contained.get(literal[1:], "")
        if not kind:
            raise Broken("refers to a contained resource that is not there (ref-1)", _place(value, literal))
        if kind not in targets:
            raise Broken(f"must not refer to {kind}", _place(value, literal))
    used = {literal for literal, _ in scope.local}
    for index, each in enumerate(value.get("contained", ())):
        own = f"#{each['id']}"
        if own not in used and not _mentions(value, own) and not _mentions(each, "#"):
            raise Broken("is contained but not referred to (dom-3)", "contained", f"[{index}]")


def _place(value: dict[str, Any], literal: str) -> str:
    """Return where the first Reference with this literal stands, below the resource."""
    path = next(path for path, found in references(value) if found == literal)
    return path.partition(".")[2]


def _mentions(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_mentions(child, text) for child in value.values())
    if isinstance(value, list):
        return any(_mentions(child, text) for child in value)
    return bool(value == text)


# --- reading a model --------------------------------------------------------------------------------------------------


@cache
def _shape(path: str) -> Shape:
    """Return the shape of the model at a module path, not yet read."""
    module, _, name = path.rpartition(".")
    return Shape(name, lambda shape: _read(shape, getattr(import_module(module), name)))


def _read(shape: Shape, model: Any) -> None:
    """Fill a shape from its model. ``rules`` come last: a thread that sees them sees the rest."""
    rules: dict[str, Rule] = {}
    needed: set[str] = set()
    choices: dict[str, set[str]] = {}
    musts: set[str] = set()
    for name, field in model.model_fields.items():
        element = field.alias or name
        facts = field.json_schema_extra or {}
        if name.endswith("__ext"):
            shape.shadows[element] = _shadow_rule(field.annotation)
        elif name != "fhir_comments" and f"{shape.name}.{element}" not in _NOT_R4:
            rules[element] = _element_rule(shape, model, element, field.annotation, facts)
            if field.is_required() or facts.get("element_required"):
                needed.add(element)
            if group := facts.get("one_of_many"):
                choices.setdefault(group, set()).update((element, "_" + element))
                musts.update([group] if facts.get("one_of_many_required") else [])
    if model.has_resource_base():
        shape.resource = True
        rules["resourceType"] = primitives.code
    of_names = [needs(frozenset(needed))] if needed else []
    of_names += [at_most_one(frozenset(group)) for group in choices.values()]
    of_names += [at_least_one(f"{group}[x]", frozenset(choices[group])) for group in sorted(musts)]
    shape.of_names = tuple(of_names)
    shape.invariants = invariants_of(list(model.__mro__))
    shape.ready = True
    shape.rules.update(rules)


def _leaf(annotation: Any) -> tuple[Any, bool]:
    """Return what an annotation comes down to, and whether it is a list of it."""
    if get_origin(annotation) is list:
        return _leaf(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Annotated or not get_args(annotation):
        return annotation, False
    return _leaf(next(each for each in get_args(annotation) if each is not NoneType))


def _shadow_rule(annotation: Any) -> Rule:
    leaf, listed = _leaf(annotation)
    rule = _shape(leaf._model_klass).check
    return shadow_list(rule) if listed else rule


def _element_rule(shape: Shape, model: Any, element: str, annotation: Any, facts: dict[str, Any]) -> Rule:
    """Return the rule of one element: its type's, its codes', its targets'. The shape takes that of a single item."""
    leaf, listed = _leaf(annotation)
    names = [f"{base.__name__}.{element}" for base in model.__mro__]
    if hasattr(leaf, "_model_klass"):
        rule = shape.items[element] = _complex_rule(leaf._model_klass, names, facts)
        if leaf._model_klass.endswith(".Reference"):
            shape.pointers.add(element)
            return _reference_list(many(rule), _targets(names[0], facts)) if listed else rule
        return many(rule) if listed else rule
    rule = shape.items[element] = _primitive_rule(leaf, names, model.has_resource_base())
    return many_or_null(rule) if listed else rule


def _complex_rule(path: str, names: list[str], facts: dict[str, Any]) -> Rule:
    if path.endswith(".Resource"):
        return _contained if names[0].endswith(".contained") else _nested
    shape = _shape(path)
    if path.endswith(".Reference"):
        return _reference_rule(shape, _targets(names[0], facts))
    bound = next(filter(None, map(required, names)), None)
    if bound is None:
        return shape.check
    return _concept_rule(shape, bound) if path.endswith(".CodeableConcept") else shape.check


def _targets(name: str, facts: dict[str, Any]) -> frozenset[str]:
    """Return the resource types a Reference may point to, all of them where the model names none."""
    named = frozenset(facts.get("enum_reference_types", ("Resource",)))
    if named & {"Resource", "Any"}:
        return resource_types()
    return (named & resource_types()) - _NOT_R4_TARGETS.get(name, frozenset())


def _reference_rule(shape: Shape, targets: frozenset[str]) -> Rule:
    check = shape.check

    def rule(value: Any, scope: Scope) -> None:
        if isinstance(value, dict) and len(value) == 1 and is_pointer(value.get("reference"), targets):
            return
        check(value, scope)
        check_pointer(value, targets, scope)

    return rule


def _reference_list(general: Rule, targets: frozenset[str]) -> Rule:
    """Return the rule of a list of References: plain ones, which most are, are looked at together."""

    def rule(values: Any, scope: Scope) -> None:
        if not are_pointers(values, targets):
            general(values, scope)

    return rule


def _concept_rule(shape: Shape, bound: CodeSet) -> Rule:
    """Return the rule of a CodeableConcept with a required binding: one of its codings is of the set."""

    def rule(value: Any, scope: Scope) -> None:
        shape.check(value, scope)
        if not any((each.get("system"), each.get("code")) in bound for each in value.get("coding", ())):
            raise Broken("has no coding of the required code set")

    return rule


def _primitive_rule(leaf: Any, names: list[str], resource: bool) -> Rule:
    kind = "boolean"
    for mark in getattr(leaf, "__metadata__", ()):
        kind = getattr(mark, "__visit_name__", kind)
    if "uuid" in str(leaf).lower():
        kind = "uuid"
    if names[0].endswith(".id"):
        return primitives.id_ if resource else primitives.element_id
    if MIME_TYPED.intersection(names):
        return primitives.mime
    if "Money.currency" in names:
        return primitives.currency
    bound = next(filter(None, map(required, names)), None) if kind == "code" else None
    return _code_rule(frozenset(code for _, code in bound)) if bound else primitives.PRIMITIVES[kind]


def _code_rule(codes: frozenset[str]) -> Rule:
    def rule(value: Any, scope: Scope) -> None:
        primitives.code(value, scope)
        if value not in codes:
            raise Broken("is not one of the codes required")

    return rule
