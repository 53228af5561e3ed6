"""Our own terminology: what its ConceptMaps, CodeSystems and ValueSets hold, and what is asked of them.

Sources: http://hl7.org/fhir/R4/terminology-service.html and the operations ``$translate``, ``$lookup``, ``$expand``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.fhir.r5_terminology import RELATIONSHIPS
from gateway.model.names import BASE
from gateway.services.seen import Release

TYPES: Final = ("CodeSystem", "ConceptMap", "ValueSet")

Resource = dict[str, Any]


class Code(NamedTuple):
    """A code of a system; ``display`` is what people call it. ``version``: of the system, ``""`` whichever."""

    system: str
    code: str
    display: str = ""
    version: str = ""

    @property
    def coding(self) -> dict[str, str]:
        """The FHIR Coding."""
        named = {"system": self.system, "code": self.code, "display": self.display}
        return {name: value for name, value in named.items() if value}


# --- making them ------------------------------------------------------------------------------------------------------


def concept_map(id: str, title: str, rows: Iterable[tuple[Code, Code | None]], equivalence: str) -> Resource:
    """Return a ConceptMap; a row without a target says that on purpose there is none."""
    groups: dict[tuple[str, str], dict[str, Resource]] = {}
    for source, target in rows:
        elements = groups.setdefault((source.system, target.system if target else ""), {})
        element = elements.setdefault(source.code, {"code": source.code, **_display(source), "target": []})
        found = {"code": target.code, **_display(target)} if target else {}
        element["target"].append({**found, "equivalence": equivalence if target else "unmatched"})
    made = [
        {**_named("source", source), **_named("target", target), "element": list(elements.values())}
        for (source, target), elements in groups.items()
    ]
    return {**_head("ConceptMap", id, title), "group": made}


def code_system(id: str, title: str, url: str, codes: Iterable[Code]) -> Resource:
    """Return a CodeSystem with all its codes."""
    listed = [{"code": one.code, **_display(one)} for one in codes]
    told = {"caseSensitive": True, "content": "complete", "count": len(listed), "concept": listed}
    return {**_head("CodeSystem", id, title), "url": url, **told}


def value_set(id: str, title: str, codes: Iterable[Code]) -> Resource:
    """Return a ValueSet of codes."""
    systems: dict[str, list[Resource]] = {}
    for one in codes:
        systems.setdefault(one.system, []).append({"code": one.code, **_display(one)})
    include = [{"system": system, "concept": listed} for system, listed in systems.items()]
    return {**_head("ValueSet", id, title), "compose": {"include": include}}


def _head(type: str, id: str, title: str) -> Resource:
    name = "".join(word.capitalize() for word in id.split("-"))
    url = f"{BASE}/{type}/{id}"
    return {"resourceType": type, "id": id, "url": url, "name": name, "title": title, "status": "active"}


def _display(code: Code) -> dict[str, str]:
    return {"display": code.display} if code.display else {}


def _named(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}


# --- asking them ------------------------------------------------------------------------------------------------------


class Translated(NamedTuple):
    """A match: how it is related, the code it is, the map that says so."""

    equivalence: str
    code: Code
    map: str


class Terminology:
    """Holds resources (R4) that are the same for everybody. ``since``: when they were made (UTC)."""

    def __init__(self, resources: Sequence[Resource], version: str, since: datetime) -> None:
        moment = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._r4 = [_versioned(one | {"version": version}, moment) for one in resources]
        self._all: dict[Release, list[Resource]] = {"R4": self._r4, "R5": [to_r5(one) for one in self._r4]}

    def of_type(self, release: Release, type: str) -> list[Resource]:
        """Return the resources of a type, by id."""
        return sorted(
            (one for one in self._all[release] if one["resourceType"] == type), key=lambda one: str(one["id"])
        )

    def read(self, release: Release, type: str, id: str) -> Resource | None:
        """Return one of them."""
        return next((one for one in self.of_type(release, type) if one["id"] == id), None)

    def named(self, type: str, *, id: str = "", url: str = "", version: str = "") -> Resource:
        """Return the R4 form of the one with this id or canonical URL. Raises ``RequestRefused`` (404).

        ``version``: its business version, ``""`` whichever; it may stand behind the URL as well (``URL|version``).
        """
        wanted, _, behind = url.partition("|")
        for one in self.of_type("R4", type):
            if (id and one["id"] == id) or (wanted and one["url"] == wanted):
                if {version, behind} <= {"", one["version"]}:
                    return one
                raise RequestRefused(404, "not-found", f"of this {type} there is version {one['version']} alone here")
        raise RequestRefused(404, "not-found", f"there is no such {type} here")

    def translate(
        self,
        maps: Iterable[Resource],
        codes: Iterable[Code],
        target: str = "",
        *,
        within: Resource | None = None,
        reverse: bool = False,
    ) -> list[Translated]:
        """Return what maps say codes are in another system (``target``, where one is named).

        ``within``: a ValueSet, of whose codes alone (None: of any).
        """
        wanted = list(codes)
        allowed = None if within is None else {code[:2] for code in _codes_in(within)}
        found = (one for each in maps for one in _pairs(each, reverse=reverse))
        return [
            Translated(equivalence, to, map)
            for source, to, equivalence, map in found
            if any(_is(source, code) for code in wanted)
            and target in ("", to.system)
            and (allowed is None or to[:2] in allowed)
        ]

    def lookup(self, code: Code) -> tuple[Resource, Code]:
        """Return the CodeSystem of a code, and the code with its display. Raises ``RequestRefused`` (404)."""
        system = self.named("CodeSystem", url=code.system, version=code.version)
        for one in _codes_of(system):
            if one.code == code.code:
                return system, one
        raise RequestRefused(404, "not-found", "the code system has no such code")

    def expand(self, wanted: Resource, text: str = "", *, offset: int = 0, count: int | None = None) -> Resource:
        """Return a ValueSet with its codes; ``text``: those in which it stands. ``count`` None: all of them."""
        looked = text.casefold()
        kept = [one for one in _codes_in(wanted) if looked in one.code.casefold() or looked in one.display.casefold()]
        page = kept[offset:] if count is None else kept[offset : offset + count]
        expansion: Resource = {
            "identifier": f"urn:uuid:{uuid5(NAMESPACE_URL, wanted['url'] + '|' + wanted['version'])}",
            "timestamp": wanted["meta"]["lastUpdated"],
            "total": len(kept),
            "offset": offset,
            "parameter": [{"name": "filter", "valueString": text}] if text else [],
            "contains": [one.coding for one in page],
        }
        told = {name: value for name, value in expansion.items() if value != []}
        return {name: value for name, value in wanted.items() if name != "compose"} | {"expansion": told}


def _versioned(resource: Resource, moment: str) -> Resource:
    """Return a resource with its meta: the version says what is in it, as code maps change between two starts."""
    version = blake2b(codec.encode(resource), digest_size=8).hexdigest()
    head = {"resourceType": resource["resourceType"], "id": resource["id"]}
    return head | {"meta": {"versionId": version, "lastUpdated": moment}} | resource


def relationship(equivalence: str) -> str:
    """Return what R5 calls a relation.

    >>> relationship("relatedto")
    'related-to'
    """
    return RELATIONSHIPS[equivalence]


def _is(source: Code, code: Code) -> bool:
    return source.code == code.code and code.system in ("", source.system)


def _pairs(map: Mapping[str, Any], *, reverse: bool) -> Iterator[tuple[Code, Code, str, str]]:
    """Yield from which code to which a map leads, how they are related, and the map's URL."""
    for group in map["group"]:
        for element in group["element"]:
            source = Code(group.get("source", ""), element["code"], element.get("display", ""))
            for one in element["target"]:
                if "code" not in one:
                    continue
                target = Code(group.get("target", ""), one["code"], one.get("display", ""))
                pair = (target, source) if reverse else (source, target)
                yield *pair, one["equivalence"], map["url"]


def _codes_in(wanted: Resource) -> Iterator[Code]:
    """Yield the codes of a ValueSet."""
    for include in wanted["compose"]["include"]:
        for concept in include["concept"]:
            yield Code(include["system"], concept["code"], concept.get("display", ""))


def _codes_of(system: Mapping[str, Any]) -> Iterator[Code]:
    yield from (Code(system["url"], one["code"], one.get("display", "")) for one in system["concept"])
