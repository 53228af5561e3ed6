"""Our own ConceptMaps, CodeSystems and ValueSets: read, searched, ``$translate``, ``$lookup``, ``$expand``."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from gateway.api.fhir.exchange import Asked, Rule, Told, told
from gateway.api.fhir.inputs import Inputs
from gateway.errors import RequestRefused
from gateway.fhir.r5 import to_r5
from gateway.services.made import Source
from gateway.services.pull import Pull
from gateway.services.terminology import TYPES, Code, Terminology, Translated, relationship

_TRANSLATE: Final = {
    "R4": ("url", "system", "code", "version", "coding", "codeableConcept", "targetsystem", "target", "reverse"),
    "R5": (
        *("url", "system", "version", "targetSystem", "targetScope"),
        *("sourceCode", "sourceCoding", "sourceCodeableConcept"),
        *("targetCode", "targetCoding", "targetCodeableConcept"),
    ),
}
_LOOKUP: Final = ("system", "code", "version", "coding", "displayLanguage", "property")
_PROPERTIES: Final = frozenset(
    ("system", "url", "name", "version", "display", "definition", "designation", "parent", "child")
)
"""Properties that every code system has (R4, $lookup, property); ours have none of their own."""

_EXPAND: Final = ("url", "valueSetVersion", "filter", "offset", "count")


def terminology_rules(terminology: Terminology) -> list[Rule]:
    """Return the routes of the operations."""
    desk = _Desk(terminology)
    rules = []
    for path, handler in (
        ("ConceptMap/$translate", desk.translate),
        ("ConceptMap/{id}/$translate", desk.translate),
        ("CodeSystem/$lookup", desk.lookup),
        ("ValueSet/$expand", desk.expand),
        ("ValueSet/{id}/$expand", desk.expand),
    ):
        type, name = path.partition("/")[0], path.rpartition("$")[2]
        definition = f"http://hl7.org/fhir/OperationDefinition/{type}-{name}"
        rules.append(Rule("GET", path, f"${name}", handler, definition=definition))
        rules.append(Rule("POST", path, f"${name}", handler, definition=definition))
    return rules


def terminology_sources(terminology: Terminology) -> dict[str, Source]:
    """Return what makes these types, the same for every client (``Shelf.sources``)."""
    return {type: partial(_every, terminology, type) for type in TYPES}


def _every(terminology: Terminology, type: str, pull: Pull) -> list[dict[str, Any]]:
    return terminology.of_type(pull.release, type)


class _Desk:
    def __init__(self, terminology: Terminology) -> None:
        self._terminology = terminology

    def translate(self, asked: Asked) -> Told:
        """Say what a code is in another system (http://hl7.org/fhir/R4/conceptmap-operation-translate.html)."""
        asked.scopes("ConceptMap", "r")
        inputs = Inputs.of(asked, _TRANSLATE[asked.release])
        codes, reverse = _source(asked, inputs)
        url = inputs.one("url")
        chosen = bool(asked.id or url)
        maps = [self._terminology.named("ConceptMap", id=asked.id, url=url)] if chosen else self._maps()
        target = inputs.one("targetsystem" if asked.release == "R4" else "targetSystem")
        scope = inputs.one("target" if asked.release == "R4" else "targetScope")
        within = self._terminology.named("ValueSet", url=scope) if scope else None
        found = self._terminology.translate(maps, codes, target, within=within, reverse=reverse)
        told_ = [{"name": "result", "valueBoolean": bool(found)}]
        if not found:
            told_.append({"name": "message", "valueString": "no map here leads from this code there"})
        return told({"resourceType": "Parameters", "parameter": [*told_, *(_match(asked, one) for one in found)]})

    def _maps(self) -> list[dict[str, Any]]:
        return self._terminology.of_type("R4", "ConceptMap")

    def lookup(self, asked: Asked) -> Told:
        """Say what a code means (http://hl7.org/fhir/R4/codesystem-operation-lookup.html)."""
        asked.scopes("CodeSystem", "r")
        inputs = Inputs.of(asked, _LOOKUP)
        unknown = [one for one in inputs.every("property") if one not in _PROPERTIES and not one.startswith("lang.")]
        if unknown:
            what = f"our code systems have no such property, but: {', '.join(sorted(_PROPERTIES))}"
            raise RequestRefused(400, "not-supported", what, ("property",))
        code = _code(inputs.one("system"), inputs.one("code"), inputs.structure("coding"), inputs.one("version"))
        if code is None or not code.system:
            raise RequestRefused(400, "required", "a code and its system are needed", ("code", "system"))
        system, found = self._terminology.lookup(code)
        parameter = [
            {"name": "name", "valueString": system["title"]},
            {"name": "version", "valueString": system["version"]},
            {"name": "display", "valueString": found.display or found.code},
        ]
        return told({"resourceType": "Parameters", "parameter": parameter})

    def expand(self, asked: Asked) -> Told:
        """List the codes of a value set (http://hl7.org/fhir/R4/valueset-operation-expand.html)."""
        asked.scopes("ValueSet", "r")
        inputs = Inputs.of(asked, _EXPAND)
        url = inputs.one("url")
        if not (asked.id or url):
            raise RequestRefused(400, "required", "the url of a value set is needed", ("url",))
        wanted = self._terminology.named("ValueSet", id=asked.id, url=url, version=inputs.one("valueSetVersion"))
        offset, count = inputs.number("offset") or 0, inputs.number("count")
        expanded = self._terminology.expand(wanted, inputs.one("filter"), offset=offset, count=count)
        return told(to_r5(expanded) if asked.release == "R5" else expanded)


def _source(asked: Asked, inputs: Inputs) -> tuple[list[Code], bool]:
    """Return the codes to translate, and whether they are targets. Raises ``RequestRefused`` (400)."""
    system = inputs.one("system")
    if asked.release == "R4":
        reverse = inputs.one("reverse") == "true"
        found = _codes(inputs, system, "code", "coding", "codeableConcept")
    else:
        backwards = _codes(inputs, system, "targetCode", "targetCoding", "targetCodeableConcept")
        forwards = _codes(inputs, system, "sourceCode", "sourceCoding", "sourceCodeableConcept")
        found, reverse = forwards or backwards, not forwards
    if not found:
        raise RequestRefused(400, "required", "a code to translate is needed", ("code",))
    return found, reverse


def _codes(inputs: Inputs, system: str, code: str, coding: str, concept: str) -> list[Code]:
    codings = inputs.structure(concept).get("coding", [])
    listed = [inputs.structure(coding), *(codings if isinstance(codings, list) else ())]
    found = [_code(system, inputs.one(code), {}), *(_code("", "", one) for one in listed if isinstance(one, dict))]
    return [one for one in found if one is not None]


def _code(system: str, code: str, coding: dict[str, Any], version: str = "") -> Code | None:
    system, code = coding.get("system", system), coding.get("code", code)
    return Code(str(system), str(code), version=str(coding.get("version", version))) if code else None


def _match(asked: Asked, found: Translated) -> dict[str, Any]:
    concept = {"name": "concept", "valueCoding": found.code.coding}
    if asked.release == "R4":
        related = {"name": "equivalence", "valueCode": found.equivalence}
        origin = {"name": "source", "valueUri": found.map}
    else:
        related = {"name": "relationship", "valueCode": relationship(found.equivalence)}
        origin = {"name": "originMap", "valueUri": found.map}
    return {"name": "match", "part": [related, concept, origin]}
