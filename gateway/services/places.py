"""A patient's place in a study is one, under whichever of the patient's numbers it was registered.

Translating names a ResearchSubject and its Consents by the patient's number in the message. After a merge (A40) a
message under the surviving number speaks of the place that was registered under the old one: what it says, a
withdrawal above all, must reach the resources that stand for that place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from gateway.fhir import codec
from gateway.fhir.references import references, rewrite
from gateway.model.resource import ResourceVersion
from gateway.model.translation import Statement

TYPES: Final = ("ResearchSubject", "Consent")
"""Types that are a patient's one thing per study (and purpose)."""

_OVER: Final = frozenset({"not-registered", "withdrawn", "inactive", "entered-in-error", "rejected"})

Place = tuple[str, frozenset[str], frozenset[str]]


def speaks_of_places(statements: Sequence[Statement]) -> bool:
    """Say whether a message says anything of a patient's place in a study."""
    return any(statement.type in TYPES for statement in statements)


def placed(
    statements: Sequence[Statement], stored: Sequence[ResourceVersion], canonical: Mapping[str, str]
) -> list[Statement]:
    """Return the statements as the stored resources of the same patients have them.

    ``stored`` are the newest ResearchSubject and Consent versions of the patients that the message speaks of, merged
    ones included; ``canonical`` maps Patient id -> the surviving one. A statement about a place that is stored under
    another id goes to that id, and so do references to it; where several are stored, it goes to each that still
    stands, so that a withdrawal leaves none.
    """
    ids = {statement.id: _ids(statement, stored, canonical) for statement in statements if statement.type in TYPES}
    moved = {f"{one.type}/{one.id}": f"{one.type}/{ids[one.id][0]}" for one in statements if one.id in ids}
    if all(targets == [id] for id, targets in ids.items()):
        return list(statements)
    return [_as(statement, id, moved) for statement in statements for id in ids.get(statement.id, [statement.id])]


def _ids(statement: Statement, stored: Sequence[ResourceVersion], canonical: Mapping[str, str]) -> list[str]:
    place = _place(codec.decode(statement.body))
    patient = canonical.get(statement.patient, statement.patient)
    theirs = [version for version in stored if (version.patient, version.type) == (patient, statement.type)]
    same = [version for version in theirs if _place(codec.decode(version.body)) == place]
    standing = [version.id for version in same if version.status not in _OVER and not version.gone]
    own = [statement.id] if statement.id in {version.id for version in same} else []
    found = own + [id for id in standing if id not in own]
    return found or [version.id for version in same[-1:]] or [statement.id]


def _place(body: dict[str, Any]) -> Place:
    studies = frozenset(each for _, each in references(body) if each.startswith("ResearchStudy/"))
    return body["resourceType"], studies, frozenset(_purposes(body))


def _purposes(body: dict[str, Any]) -> Iterator[str]:
    for purpose in body.get("provision", {}).get("purpose", ()):
        yield str(purpose.get("code"))


def _as(statement: Statement, id: str, moved: dict[str, str]) -> Statement:
    body = rewrite(codec.decode(statement.body), lambda reference: moved.get(reference, reference))
    return replace(statement, id=id, body=codec.encode({**body, "id": id}))
