"""Merging what several messages say of one resource (ARCHITECTURE, decision 6).

Each top-level element remembers how recent the statement behind it is: its clock, (rank of the feed, MSH-7, message).
The newer clock wins, element by element, so that the order in which messages happen to arrive does not matter:
a field that is not valued leaves what is there, ``""`` removes it, and an older message never undoes a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.fhir import codec
from gateway.model.resource import Clock, ResourceVersion
from gateway.model.translation import Statement

REPLACED_WHOLE: Final = frozenset({"Observation", "Specimen", "Provenance", "DocumentReference", "Binary"})
"""Types a later statement replaces as a whole: HL7 v2 chapter 7 sends a corrected OBX complete, so an old
interpretation must not stay beside a new value."""

_PROVISIONAL: Final = frozenset({"registered", "preliminary", "partial"})
_CHOICES: Final = ("value", "effective", "deceased", "multipleBirth", "onset", "performed", "occurred", "collected")
_ACCUMULATED: Final = {"DiagnosticReport": "result", "Patient": "link"}
_NOT_ELEMENTS: Final = frozenset({"resourceType", "id"})
ANY: Final = ""
"""The key in ``clocks`` that stands for every element not named."""
_TENTATIVE: Final[Clock] = (-1, "", 0)
"""The clock of elements stated tentatively: older than anything that is said in earnest."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a resource looks like after a statement. ``changed`` is False when only the clocks moved (or nothing)."""

    body: bytes
    clocks: dict[str, Clock]
    changed: bool
    own: bytes | None = None
    regressed: bool = False
    """A provisional result came after the final one and was not let through."""


def clock_of(statement: Statement, sent_at: str, message: int) -> Clock:
    """Return a statement's clock. A final result ranks above a provisional one of the same feed, whenever it came."""
    final = 0 if statement.status in _PROVISIONAL else 1
    return (statement.rank * 2 + final, sent_at, message)


def newest_of(one: Mapping[str, Clock], other: Mapping[str, Clock]) -> dict[str, Clock]:
    """Return per element the newer of two clocks of the same body.

    >>> newest_of({"": (1, "2026-01", 4), "name": (3, "2025-01", 1)}, {"": (1, "2026-02", 7)})
    {'': (1, '2026-02', 7), 'name': (3, '2025-01', 1)}
    """
    names = [ANY, *sorted((one.keys() | other.keys()) - {ANY})]
    return {name: max(one.get(name, one[ANY]), other.get(name, other[ANY])) for name in names}


def first_clocks(statement: Statement, clock: Clock) -> dict[str, Clock]:
    """Return the clocks of a resource that a statement is the first to speak of."""
    if not statement.removes and not statement.tentative:
        return {ANY: clock}
    return {ANY: clock} | dict.fromkeys(statement.removes, clock) | dict.fromkeys(statement.tentative, _TENTATIVE)


def merge(head: ResourceVersion, statement: Statement, clock: Clock) -> Merged:
    """Return the resource after ``statement``, given its newest version."""
    if statement.type in REPLACED_WHOLE:
        return _replace(head, statement, clock)
    if statement.body == head.body and head.clocks.keys() == {ANY} and not statement.removes + statement.tentative:
        return Merged(head.body, {ANY: max(clock, head.clocks[ANY])}, changed=False)
    return _merge_elements(head, statement, clock)


def _replace(head: ResourceVersion, statement: Statement, clock: Clock) -> Merged:
    current = head.clocks[ANY]
    if clock < current:
        return Merged(head.body, head.clocks, changed=False, regressed=clock[1] > current[1])
    return Merged(statement.body, {ANY: clock}, changed=statement.body != head.body)


def _merge_elements(head: ResourceVersion, statement: Statement, clock: Clock) -> Merged:
    body: dict[str, Any] = codec.decode(head.body)
    stated: dict[str, Any] = codec.decode(statement.body)
    clocks = _spread(body, head.clocks)
    before = dict(body)
    for element in _dropped(clocks, stated, clock, statement.removes):
        body.pop(element, None)
        clocks.pop(element, None)
    for element in statement.removes:
        if clock >= clocks.get(element, clock):
            body.pop(element, None)
            clocks[element] = clock
    for element, value in stated.items():
        if element not in _NOT_ELEMENTS:
            when = _TENTATIVE if element in statement.tentative else clock
            _state(body, clocks, element, value, when, accumulated=_ACCUMULATED.get(statement.type))
    changed = body != before
    encoded = codec.encode(body) if changed else head.body
    return Merged(
        encoded, _gather(body, clocks, clock), changed, own=statement.body if encoded != statement.body else None
    )


def _state(
    body: dict[str, Any], clocks: dict[str, Clock], element: str, value: Any, clock: Clock, *, accumulated: str | None
) -> None:
    rivals = [other for other in _group(element, body) if other != element]
    newest = max((clocks[other] for other in (*rivals, element) if other in clocks), default=clock)
    if element == accumulated and element in body:
        value = _union(body[element], value, newer=clock >= newest)
    elif clock < newest:
        return
    for rival in rivals:
        body.pop(rival)
        clocks.pop(rival)
    body[element] = value
    clocks[element] = max(clock, newest)


def _dropped(clocks: dict[str, Clock], stated: dict[str, Any], clock: Clock, removes: tuple[str, ...]) -> list[str]:
    """Elements this very message stated when it was translated before and no longer does."""
    return [name for name, when in clocks.items() if when == clock and name not in stated and name not in removes]


def _group(element: str, body: dict[str, Any]) -> list[str]:
    """The elements of ``body`` that cannot stand beside ``element``: the other types of the same choice."""
    for choice in _CHOICES:
        if element.startswith(choice) and element[len(choice) :][:1].isupper():
            return [name for name in body if name.startswith(choice) and name[len(choice) :][:1].isupper()]
    return []


def _union(old: list[Any], new: list[Any], *, newer: bool) -> list[Any]:
    """What both sides name, in the order of the one that has it all, else sorted."""
    ours, theirs = ({codec.encode(item): item for item in items} for items in (old, new))
    if ours.keys() == theirs.keys():
        return new if newer else old
    if theirs.keys() > ours.keys():
        return new
    if ours.keys() > theirs.keys():
        return old
    both = ours | theirs
    return [both[name] for name in sorted(both)]


def _spread(body: dict[str, Any], clocks: dict[str, Clock]) -> dict[str, Clock]:
    """One clock per element of the body, and those of elements taken away."""
    spread = {element: clocks.get(element, clocks[ANY]) for element in body if element not in _NOT_ELEMENTS}
    return spread | {element: clock for element, clock in clocks.items() if element != ANY}


def _gather(body: dict[str, Any], clocks: dict[str, Clock], newest: Clock) -> dict[str, Clock]:
    """The shortest form: the commonest clock under ``ANY``, the others by name."""
    of_body = [clocks[element] for element in body if element in clocks]
    common = max(of_body, key=lambda clock: (of_body.count(clock), clock)) if of_body else newest
    named = {name: clock for name, clock in clocks.items() if name not in body or clock != common}
    return {ANY: common, **named}
