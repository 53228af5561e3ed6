"""Mapping a gap: one row in the code map, and every message that showed the gap is translated again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from gateway.errors import GatewayError
from gateway.model.site import CodeMapEntry
from gateway.ports import AuditEvent, GapLine, Store


class NotMappable(GatewayError):
    """The gap is not one that a code map closes; the words say where it is mended."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A person's decision: the standard coding, the canonical unit, from which day, who and why."""

    coding: tuple[str, str, str]
    ucum: str
    valid_from: date | None
    author: str
    reason: str


def map_code(store: Store, gap: int, site_of: dict[str, str], mapping: Mapping, now: datetime) -> int:
    """Close a gap and put the messages that showed it back to be translated; return how many.

    ``site_of`` maps feed id -> site id. Raises ``NotMappable`` for a gap that is unknown or of another kind.
    """
    with store.begin() as tx:
        line = next((line for line in tx.worklist.gaps(open_only=False) if line.id == gap), None)
        if line is None:
            raise NotMappable("there is no such gap; see: gateway gaps list")
        entry = _entry(line, mapping)
        tx.codes.add(site_of[line.feed], entry, author=mapping.author, reason=mapping.reason, at=now)
        tx.worklist.close_gap(gap, now)
        messages = tx.messages.with_gap(gap)
        tx.messages.restore(messages)
        tx.audit.write([AuditEvent(now, "code-mapped", mapping.author, f"gap/{gap}", mapping.reason)])
    return len(messages)


def _entry(line: GapLine, mapping: Mapping) -> CodeMapEntry:
    if line.gap.kind != "code":
        where = {"unit": "[units]", "authority": "[authorities]", "study": "[studies]", "table": "[defaults]"}
        table = where[line.gap.kind]
        raise NotMappable(f"a gap of kind {line.gap.kind!r} is mended in {table} of the site's file, then replayed")
    return CodeMapEntry(
        code=line.gap.code,
        system=line.gap.system,
        codings=(mapping.coding,),
        ucum=mapping.ucum,
        valid_from=mapping.valid_from,
    )
