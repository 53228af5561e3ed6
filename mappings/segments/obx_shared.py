"""What an OBX has in common with others of its site: everything but its value, its times and who answers for it.

The fields that say it come together in some thousands of combinations at most, so that one look at them tells what the
code means, what stands before and behind the value, and what the result is named by. Days matter only where a row of
the code map is valid for some days alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Final

from msgspec import Struct

from gateway.hl7v2.message import Segment
from gateway.model.identity import SEPARATOR
from gateway.model.translation import Gap
from mappings.codes import is_valid
from mappings.context import Context
from mappings.segments.obx import named
from mappings.segments.obx_meaning import Meaning, meanings_of
from mappings.segments.obx_order import Order, day_of
from mappings.segments.obx_parts import LONGEST, measured, standing

_FIELDS: Final = itemgetter(2, 3, 4, 6, 7, 8, 10, 11, 17, 20)


class Names(Struct, frozen=True, eq=False):
    """The elements before the value and behind it; one object stands for the same names at a site."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


_NO_NAMES: Final = Names()


class Shared(Struct, frozen=True):
    """What an OBX says beside its value, times and people.

    ``named`` are code, coding system and sub-id as sent, ``name`` the same joined as an id is made of them. ``before``
    and ``after`` are JSON around the value, ``extension`` the extensions without the brackets, each with a comma behind
    it; ``names`` are the elements. ``unit_text`` is what stands behind a number (NM) that needs nothing but to be read
    (``b""``: it needs more), ``limit_text`` what stands between comparator and sent text, and behind it, of a limit
    (SN) of which this is so; ``bounded``: they may be implausible. ``is_words``: a text (ST) is never a number.
    ``parted`` False: the OBX is for the segment map, and only ``known``, ``named`` and ``name`` hold.
    """

    known: Meaning
    named: tuple[str, str, str]
    name: str
    parted: bool = False
    names: Names = _NO_NAMES
    before: bytes = b""
    after: bytes = b""
    extension: bytes = b""
    unit_text: bytes = b""
    limit_text: tuple[bytes, bytes] | None = None
    is_words: bool = False
    bounded: bool = False
    held: str = ""
    gaps: tuple[Gap, ...] = ()
    code: str = ""
    status: str = ""


def shared_by(obx: Segment, fields: list[str], order: Order, context: Context) -> Shared:
    """Return what an OBX, whose ``fields`` go to 24 at least, says beside its value, times and people.

    Its meaning becomes the order's. Raises ``MappingError`` (101) when OBX-3 is not valued.
    """
    said = _FIELDS(fields)
    key: Hashable = ("obx", order.dialect, said)
    kept: tuple[Shared, ...] | None = context.cache.get(key)
    if kept is None:
        kept = _made(obx, fields, order, context)
        if sum(map(len, said)) <= LONGEST:
            context.cache[key] = kept
    found = kept[0]
    if len(kept) > 1:  # the last holds without a row of the code map, on any day
        day = day_of(obx, order)
        found = next(each for each in kept if each.known.entry is None or is_valid(each.known.entry, day))
    order.meaning = found.known
    return found


def _made(obx: Segment, fields: list[str], order: Order, context: Context) -> tuple[Shared, ...]:
    """Return one for each meaning, the best first: that which always holds ends them."""
    made = []
    for known in meanings_of(obx, order.dialect, context):
        order.meaning = known
        made.append(_with(known, obx, fields, order, context))
        entry = known.entry
        if entry is not None and entry.valid_from is None and entry.valid_until is None:
            break
    return tuple(made)


def _with(known: Meaning, obx: Segment, fields: list[str], order: Order, context: Context) -> Shared:
    context.segment = obx
    of_result = named(obx, order.dialect, context)
    name = SEPARATOR.join((*of_result, ""))
    what, how = measured(obx, fields, known, order.dialect, context), standing(obx, fields, order.dialect, context)
    if what is None or how is None:
        return Shared(known, of_result, name)
    reads = context.site.thousands != "."
    return Shared(
        known,
        of_result,
        name,
        parted=True,
        names=_names((*how.first_names, *what.first_names), (*how.last_names, *what.last_names), context),
        before=how.first_text + what.first_text,
        after=how.last_text + what.last_text,
        extension=what.extension_text + how.extension_text,
        unit_text=what.unit_text if reads and fields[2] == "NM" else b"",
        limit_text=what.limit_text if reads and fields[2] == "SN" else None,
        is_words=fields[2] == "ST" and not known.is_numeric,
        bounded=what.bounded,
        held=what.held,
        gaps=(*how.gaps, *what.gaps),
        code=what.code,
        status=how.status,
    )


def _names(before: tuple[str, ...], after: tuple[str, ...], context: Context) -> Names:
    known: Names = context.cache.setdefault(("names", before, after), Names(before, after))
    return known
