"""What one release of FHIR says and another has no element for, in HL7's cross-version extensions.

``http://hl7.org/fhir/4.0/StructureDefinition/extension-Encounter.statusHistory`` carries in R5 what only R4 has, one
extension for each item (http://hl7.org/fhir/R5/versions.html#extensions): its value where an extension can hold the
type, else its parts, each an extension whose url is the element's name. A choice goes by its name without the type.
An element that the other release says and this one does not is carried as absent. What elements there are, and of
what type, is read from fhir.resources' models when something is carried first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin

from gateway.fhir.r5_steps import R4_ONLY, SAID, Object, with_said, without_said
from gateway.fhir.r5_types import DATATYPE

R5_ONLY: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-"
"""Start of the URL of an extension that carries an R5 element in R4; the element's path follows."""

_ABSENT: Final[Object] = {
    "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
    "valueCode": "not-applicable",
}
_MODIFIER: Final = "modifierExtension"
_VALUES: Final = frozenset(
    (
        *("Address", "Age", "Annotation", "Attachment", "CodeableConcept", "Coding", "ContactDetail", "ContactPoint"),
        *("Contributor",),  # not in R5, where r5_types spells it out
        *("Count", "DataRequirement", "Distance", "Dosage", "Duration", "Expression", "HumanName", "Identifier"),
        *("Money", "ParameterDefinition", "Period", "Quantity", "Range", "Ratio", "Reference", "RelatedArtifact"),
        *("SampledData", "Signature", "Timing", "TriggerDefinition", "UsageContext"),
    )
)
"""Types an extension can hold in R4 and in R5."""


@dataclass(frozen=True, slots=True)
class Element:
    """What a model says of an element. ``choice``: the name without the type, ``""`` when its type is fixed.

    ``path``: the model of a complex type; ``""`` for a primitive.
    """

    type: str
    path: str
    listed: bool
    choice: str

    @property
    def value(self) -> str:
        """The name of an extension's value of this type; ``""`` when an extension cannot hold it."""
        if self.path and self.type not in _VALUES:
            return ""
        return "value" + self.type[:1].upper() + self.type[1:]


@cache
def elements(path: str) -> Mapping[str, Element]:
    """Return the elements of a model by its module path (``fhir.resources.R4B.encounter.Encounter``)."""
    module, _, name = path.rpartition(".")
    found = {}
    for key, field in getattr(import_module(module), name).model_fields.items():
        if key not in ("extension", _MODIFIER, "id", "fhir_comments", "resource_type") and not key.endswith("__ext"):
            facts = field.json_schema_extra or {}
            leaf, listed = _leaf(field.annotation)
            own = getattr(leaf, "_model_klass", "")
            type = own.rpartition(".")[2] if own else _primitive(leaf)
            found[field.alias or key] = Element(type, own, listed, facts.get("one_of_many", ""))
    return found


def _leaf(annotation: Any) -> tuple[Any, bool]:
    """Return what an annotation comes down to, and whether it is a list of it."""
    if get_origin(annotation) is list:
        return _leaf(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Annotated or not get_args(annotation):
        return annotation, False
    return _leaf(next(one for one in get_args(annotation) if one is not NoneType))


def _primitive(leaf: Any) -> str:
    marks = (getattr(mark, "__visit_name__", "") for mark in getattr(leaf, "__metadata__", ()))
    return next(filter(None, marks), "boolean")


# --- into extensions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Carrier:
    """Carries what one release says (``models``: where its models are) under its URLs (``start``)."""

    models: str
    start: str

    def carried(self, kind: str, name: str, said: Mapping[str, Any]) -> list[Object]:
        """Return the extensions that carry an element of a resource, ``_name`` included; absent when it is not said."""
        known = elements(f"{self.models}.{kind.lower()}.{kind}")
        element = known.get(name)
        url = f"{self.start}{kind}.{(element.choice if element else '') or name}"
        if element is None or (name not in said and "_" + name not in said):
            return [{"url": url, "extension": [_ABSENT]}]
        return _extensions(url, element, said.get(name), said.get("_" + name))

    def heard(self, kind: str, extensions: Iterable[Object]) -> tuple[dict[str, Any], list[Object]]:
        """Return the elements that extensions carry (None: is not there), and the other extensions.

        What anybody else wrote under these URLs and is no element of the type stays an extension.
        """
        start = f"{self.start}{kind}."
        found: dict[str, Any] = {}
        others = []
        for extension in extensions:
            if not extension["url"].startswith(start):
                others.append(extension)
                continue
            try:
                _hear(found, elements(f"{self.models}.{kind.lower()}.{kind}"), start, extension)
            except (KeyError, TypeError, IndexError, AttributeError):
                others.append(extension)
        return found, others


R4_IN_R5: Final = Carrier("fhir.resources.R4B", R4_ONLY)
R5_IN_R4: Final = Carrier("fhir.resources", R5_ONLY)


def _extensions(url: str, element: Element, value: Any, shadow: Any) -> list[Object]:
    values = value if element.listed else [value]
    shadows = shadow if element.listed else [shadow]
    count = max(len(values or ()), len(shadows or ()))
    return [_extension(url, element, _at(values, index), _at(shadows, index)) for index in range(count)]


def _at(values: Any, index: int) -> Any:
    return values[index] if values and index < len(values) else None


def _extension(url: str, element: Element, value: Any, shadow: Any) -> Object:
    if shadow is not None:
        return with_said(url, element.value, value, shadow)
    if name := element.value:
        return {"url": url, name: value}
    own = {"id": value["id"]} if "id" in value else {}
    return {**own, "url": url, "extension": [*_type_mark(element), *_parts(element, value)]}


def _type_mark(element: Element) -> list[Object]:
    return [{"url": DATATYPE, "valueString": element.type}] if element.choice else []


def _parts(element: Element, value: Object) -> list[Object]:
    found: list[Object] = []
    for name, part in elements(element.path).items():
        if name in value or "_" + name in value:
            found += _extensions(part.choice or name, part, value.get(name), value.get("_" + name))
    found += ({"url": _MODIFIER, "extension": [one]} for one in value.get(_MODIFIER, ()))
    return [*found, *value.get("extension", ())]


# --- out of extensions ------------------------------------------------------------------------------------------------


def _hear(found: dict[str, Any], known: Mapping[str, Element], start: str, extension: Object) -> None:
    name = extension["url"].removeprefix(start)
    if extension.get("extension") == [_ABSENT]:
        found[name] = None
        return
    if name not in known:
        name = _chosen(name, extension)
    element = known[name]
    if not element.value:
        _put(found, name, element, _whole(element, extension))
        return
    value, shadow = _primitive_said(element, extension)
    if value is not None or element.listed:
        _put(found, name, element, value)
    if element.listed and not element.path:
        _put(found, "_" + name, element, shadow)
    elif shadow is not None:
        found["_" + name] = shadow


def _primitive_said(element: Element, extension: Object) -> tuple[Any, Object | None]:
    """Return a value, and what extends it when it is a primitive."""
    if "extension" not in extension:
        return extension.get(element.value), None
    said, shadow = without_said(extension, element.value)
    return (said[0] if said else None), shadow


def _put(found: dict[str, Any], name: str, element: Element, value: Any) -> None:
    if element.listed:
        found.setdefault(name, []).append(value)
    else:
        found[name] = value


def _chosen(choice: str, extension: Object) -> str:
    """Return the name of a choice with the type of the value an extension holds."""
    parts = extension.get("extension", ())
    if parts and parts[0]["url"] == DATATYPE:
        return choice + str(parts[0]["valueString"])
    said = next((part for part in parts if part["url"] == SAID), extension)
    keys = [key for key in said if key.startswith("value")]
    return choice + keys[0].removeprefix("value")


def _whole(element: Element, extension: Object) -> Object:
    """Return the object that the parts of an extension make."""
    known = elements(element.path)
    names = known.keys() | {one.choice for one in known.values()}
    made: Object = {"id": extension["id"]} if "id" in extension else {}
    for part in extension["extension"]:
        if part["url"] == _MODIFIER:
            made.setdefault(_MODIFIER, []).extend(part["extension"])
        elif part["url"] in names:
            _hear(made, known, "", part)
        elif part["url"] != DATATYPE:
            made.setdefault("extension", []).append(part)
    return without_empty_shadows(made)


def without_empty_shadows(it: Object) -> Object:
    """Return an object without the lists of nulls that stand beside lists of primitives."""
    return {
        name: value
        for name, value in it.items()
        if not (isinstance(value, list) and all(one is None for one in value) and value)
    }
