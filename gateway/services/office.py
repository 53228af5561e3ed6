"""What a trial office wrote through the FHIR API, and what feeds say of it afterwards.

What the office wrote outranks every feed, element by element. One thing a feed may still say, when it says it later:
that a subject's participation or a consent has ended. Whatever else a feed says against the office's word changes
nothing and waits for a person; so does whatever it says of what the office deleted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from msgspec import structs

from gateway.fhir import codec
from gateway.model.resource import Clock, ResourceVersion
from gateway.model.translation import Statement
from gateway.services.merge import Merged, merge

RANK: Final = 2_000_000
"""The rank of what the office wrote: above every feed's, and above the configuration's."""

DELETED: Final = "the trial office deleted this; a later message speaks of it"
OTHERWISE: Final = "the trial office wrote another status than a later message says"

_ENDS: Final = {
    "ResearchSubject": (frozenset({"withdrawn", "off-study", "not-registered", "ineligible"}), ("status", "period")),
    "Consent": (frozenset({"inactive", "rejected", "entered-in-error"}), ("status",)),
}
"""By type the statuses that end an entitlement, and the elements that say so."""


def office_clock(now: datetime, version: int) -> Clock:
    """Return the clock of what the office writes now, as this version of a resource: no two have the same."""
    return (RANK, now.astimezone(UTC).isoformat(), version)


def wrote(head: ResourceVersion) -> bool:
    """Whether any of a resource is the office's word."""
    return any(clock[0] >= RANK for clock in head.clocks.values())


def heard(head: ResourceVersion, statement: Statement, clock: Clock) -> tuple[Statement, Merged]:
    """Return a feed's statement, its status the one that stands now, and the resource after it.

    Does as ``merge`` where the office wrote nothing of the resource.
    """
    if not wrote(head):
        return statement, merge(head, statement, clock)
    ended = _ending(statement, clock)
    first = Merged(head.body, head.clocks, changed=False) if ended is None else merge(head, *ended)
    merged = merge(head.but(body=first.body, clocks=first.clocks), statement, clock)
    stands = codec.decode(merged.body).get("status", "")
    return structs.replace(statement, status=stands), replace(merged, changed=first.changed or merged.changed)


def contradicts(head: ResourceVersion, statement: Statement, stands: str, clock: Clock) -> bool:
    """Whether a message later than the office's word says another status than the one that stands."""
    if statement.type not in _ENDS or not statement.status or statement.status == stands:
        return False
    return wrote(head) and clock[1] > max(each[1] for each in head.clocks.values() if each[0] >= RANK)


def _ending(statement: Statement, clock: Clock) -> tuple[Statement, Clock] | None:
    """Return the part of a statement that ends something, with the office's rank; None: it ends nothing."""
    statuses, elements = _ENDS.get(statement.type, (frozenset(), ()))
    if statement.status not in statuses or "status" in statement.tentative:
        return None
    body = codec.decode(statement.body)
    part = {name: body[name] for name in ("resourceType", "id", *elements) if name in body}
    return structs.replace(statement, body=codec.encode(part), removes=(), tentative=()), (RANK, *clock[1:])
