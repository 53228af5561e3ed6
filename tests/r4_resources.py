"""Random resources of R4 4.0.1, of every element its definition has, made by what fhir.resources' models say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

from gateway.errors import InvalidResource
from gateway.fhir.across import Element, elements
from gateway.fhir.checks import check
from gateway.fhir.codes import codes_of, required
from gateway.fhir.compiled import model

_WORDS = ("Arm A", "arm-a", "7", "07", "derivation", "ein Maß", "two\nlines", "x")
_LINKS = ("http://example.org/1", "http://example.org/2")
_PRIMITIVES: Mapping[str, tuple[Any, ...]] = {
    "base64Binary": ("QUJD", "AAAA"),
    "boolean": (True, False),
    "canonical": ("http://example.org/a|1", "urn:x:1"),
    "code": ("a", "b-c"),
    "date": ("2026", "2026-02", "2026-02-03"),
    "dateTime": ("2026", "2026-02", "2026-02-03", "2026-02-03T04:05:06Z", "2026-02-03T04:05:06.7+01:00"),
    "decimal": (Decimal("1.50"), Decimal("123456789012345678.123456789"), Decimal("-0.0"), Decimal(3)),
    "id": ("one", "two-2"),
    "instant": ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06.123+01:00"),
    "integer": (-9, 0, 12),
    "markdown": _WORDS,
    "oid": ("urn:oid:1.2.3",),
    "positiveInt": (1, 99),
    "string": _WORDS,
    "time": ("04:05:06",),
    "unsignedInt": (0, 99),
    "uri": ("urn:x:1", "http://example.org/1"),
    "url": _LINKS,
    "uuid": ("urn:uuid:5f0c8a1e-0000-4000-8000-000000000001",),
}
_NOTE = {"extension": [{"url": "http://example.org/said", "valueBoolean": True}]}
_VALUES: tuple[dict[str, Any], ...] = (
    {"valueString": "said"},
    {"valueAttachment": {"size": 7, "title": "t"}},
    {"valueContributor": {"type": "author", "name": "n", "contact": [{"name": "c"}]}},
    {"valueDosage": {"asNeededBoolean": True, "maxDosePerPeriod": {"numerator": {"value": 1}}}},
    {"valueSampledData": {"origin": {"value": 1}, "period": Decimal("1.0"), "dimensions": 1, "data": "1 2"}},
    {"valueRelatedArtifact": {"type": "citation", "url": _LINKS[0], "document": {"url": _LINKS[1]}}},
)
_DEEP = 4


@cache
def _needed(path: str) -> tuple[frozenset[str], frozenset[str], Mapping[str, frozenset[str]]]:
    """Return the elements a model requires, the choices it requires, and the targets of its References."""
    module, _, name = path.rpartition(".")
    needed, choices, targets = set(), set(), {}
    for key, field in getattr(__import__(module, fromlist=[name]), name).model_fields.items():
        facts = field.json_schema_extra or {}
        if field.is_required() or facts.get("element_required"):
            needed.add(field.alias or key)
        if facts.get("one_of_many_required"):
            choices.add(facts["one_of_many"])
        targets[field.alias or key] = frozenset(facts.get("enum_reference_types", ()))
    return frozenset(needed), frozenset(choices), targets


def _object(chance: Random, path: str, depth: int, target: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return an object of a model; what it does not require is left out below some depth."""
    if path.endswith(".Reference"):
        kinds = sorted(target & codes_of("resource-types") - {"Resource"}) or ["Patient"]
        return {"reference": f"{chance.choice(kinds)}/{chance.choice('ab')}"}
    if path.endswith(".Narrative"):
        return {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">t</div>'}
    needed, choices, targets = _needed(path)
    name = path.rpartition(".")[2]
    made: dict[str, Any] = {}
    chosen = {""}
    known = [(key, one) for key, one in elements(path).items() if one.type not in ("Resource", "Meta")]
    for key, element in chance.sample(known, len(known)):
        must = key in needed or (element.choice in choices and element.choice not in chosen)
        skipped = depth <= 0 or chance.random() > (0.35 if depth == _DEEP else 0.25)
        if key == "resourceType" or (element.choice and element.choice in chosen) or (skipped and not must):
            continue
        chosen.add(element.choice)
        made[key] = _value(chance, f"{name}.{key}", element, depth - 1, targets[key])
        if not element.path and not element.listed and chance.random() < 0.1:
            made["_" + key] = _NOTE
    if not made or (depth > 0 and chance.random() < 0.1):
        made["extension"] = [{"url": "http://example.org/x", **chance.choice(_VALUES)}]
    return made


def _value(chance: Random, path: str, element: Element, depth: int, target: frozenset[str]) -> Any:
    def one() -> Any:
        bound = sorted(required(path) or ())
        if not element.path:
            codes = [code for _, code in bound] if element.type == "code" else []
            return chance.choice(codes or _PRIMITIVES[element.type])
        if bound and element.type == "CodeableConcept":
            system, code = chance.choice(bound)
            return {"coding": [{"system": system, "code": code}]}
        return _object(chance, element.path, depth, target)

    return [one() for _ in range(chance.randint(1, 2))] if element.listed else one()


def random_resource(kind: str, seed: int) -> dict[str, Any]:
    """Return a resource of a type; it is valid by ``check``, which knows the invariants too."""
    chance = Random(seed)
    made = {"resourceType": kind, **_object(chance, f"{model(kind).__module__}.{kind}", _DEEP)}
    if kind == "Organization":
        made.setdefault("name", "An organization")
    if kind == "Binary":
        made["contentType"] = chance.choice(("application/pdf", "text/plain; charset=UTF-8"))
    if kind == "Consent" and not made.keys() & {"policy", "policyRule"}:
        made["policyRule"] = {"text": "by law"}
    return _valid(made, lambda: random_resource(kind, seed + 1))


def _valid(made: dict[str, Any], other: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a resource without the elements that break a rule; another when it cannot be mended so."""
    for _ in range(40):
        try:
            check(made)
        except InvalidResource as broken:
            name = broken.path.partition(".")[2].partition(".")[0].partition("[")[0]
            if name not in made:
                break
            del made[name]
            made.pop("_" + name, None)
        else:
            return made
    return other()
