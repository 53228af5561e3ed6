"""An Observation put together from parts that are checked and written already (``obx_shared``).

Times, people and what comes of the order are made once per order, so that only the value is new with each result. The
rows of ``OBX_OBSERVATION`` make all of it: a result put together is, byte for byte, what the segment map makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gateway.errors import InvalidResource
from gateway.fhir.parts import written, written_datetime
from gateway.fhir.piecewise import stand_together
from gateway.hl7v2.message import Segment
from gateway.model.names import ANALYSED
from mappings.context import Context, Draft, Sealed
from mappings.datatypes.ts import ts_datetime, usual_datetime
from mappings.segments.obx import effective, performers
from mappings.segments.obx_order import AHEAD, Order, lies_ahead
from mappings.segments.obx_parts import KIND, Elements
from mappings.segments.obx_shared import Names, Shared
from mappings.segments.obx_value import value
from mappings.statements import effective_date, ousted

EACH_TIME: Final = frozenset({"OBX-5", "OBX-14", "OBX-16", "OBX-19", "OBX-21"})
"""First fields of the rows that make no shared part: this module applies them to every OBX."""

_READ: Final = 24
_PADDING: Final = [""] * _READ
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,6})?", re.ASCII).fullmatch
"""A number that a Decimal is printed as."""

_SIMPLE_VALUES: Final = frozenset(
    {"valueQuantity", "valueString", "valueCodeableConcept", "valueRange", "valueRatio", "valueDateTime"}
    | {"valueTime", "valuePeriod", "dataAbsentReason"}
)
_ANALYSED: Final = b'{"url":"%b","valueDateTime":' % ANALYSED.encode()


class _Shared(Struct, frozen=True, eq=False):
    """Elements that results of one order share: their names and JSON; of times, the moment and whether it is ahead."""

    names: tuple[str, ...] = ()
    text: bytes = b""
    date: datetime | None = None
    ahead: bool = False


_NOTHING: Final = _Shared()
_QUANTITY: Final[tuple[str, ...]] = ("valueQuantity",)
_EXTENSION: Final = ("extension",)


class Result(Struct):
    """One OBX: its fields (``padded``), what it shares with others, its order."""

    obx: Segment
    fields: list[str]
    shared: Shared
    order: Order
    context: Context


def padded(obx: Segment) -> list[str]:
    """Return the fields of an OBX, empty ones to the last that is read here."""
    fields = obx.fields()
    return fields if len(fields) >= _READ else fields + _PADDING[len(fields) :]


def put_together(result: Result, draft: Draft) -> Sealed | None:
    """Fill a new draft from parts and seal it. None: nothing was done, this OBX is for the segment map to convert.

    It is for the segment map where there are no parts, where a field is nulled, where the result has an identifier of
    its own (OBX-21), where a finding has to be said of a part (it names the place), where the value takes more than one
    element, and where something is not valid FHIR.
    """
    obx, context = result.obx, result.context
    if not result.shared.parted or result.fields[21] or context.tracing or '""' in obx.line:
        return None
    context.segment = obx
    outer, context.current, said = context.current, draft, len(context.findings)
    try:
        sealed = _sealed(result, draft)
    except InvalidResource:
        sealed = None  # the check of the whole says what, in its turn
    context.current = outer
    if sealed is None:
        while len(context.findings) > said:  # the segment map says them, in its order
            context.findings.popitem()
        return None
    draft.sealed, draft.body = sealed, {}
    return sealed


def _sealed(result: Result, draft: Draft) -> Sealed | None:
    """Return the body; None: its value is for the segment map."""
    fields, order, context, shared = result.fields, result.order, result.context, result.shared
    first, last = order.parts.get("around") or _around(result)
    when = order.times.get(fields[14]) or _when(result)
    who = _who(result) if fields[15] or fields[16] or fields[23] else _NOTHING
    said = _number(result, draft) if shared.unit_text and _NUMBER(fields[5]) else _value(result)
    if said is None:
        return None
    value_names, value_text = said
    extension = shared.extension
    if fields[19]:
        extension += _analysed(result)
    if extension:
        extension = b'"extension":[%b],' % extension[:-1]
    key = (shared.names, when, who, value_names, not extension)
    names, others = order.parts.get(key) or _standing_together(key, order, last.names)
    draft.held = draft.held or shared.held or (AHEAD if when.ahead else "")
    for gap in shared.gaps:
        context.gaps[gap] = None
    text = b"".join((
        b'{"resourceType":"Observation","id":"', draft.id.encode(), first.text, shared.before, when.text, who.text,
        value_text, shared.after, extension, last.text,
    ))  # fmt: skip
    return Sealed(text, names, shared.code, when.date, shared.status, others)


_Key = tuple[Names, _Shared, _Shared, tuple[str, ...], bool]


def _standing_together(key: _Key, order: Order, last: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the elements, once these may stand together whatever they say, and what they oust.

    Raises ``InvalidResource`` where they may not.
    """
    shared, when, who, value_names, bare = key
    extension = () if bare else _EXTENSION
    names = ("subject", *shared.before, *when.names, *who.names, *value_names, *shared.after, *extension, *last)
    if not stand_together(KIND, frozenset(names)):
        raise InvalidResource(KIND, "its elements must be judged together")
    made = order.parts[key] = names, ousted(KIND, names)
    return made


# --- made once for the order ------------------------------------------------------------------------------------------


def _around(result: Result) -> tuple[_Shared, _Shared]:
    """Return what stands behind the id (Observation.subject), and at the end of every result of the order."""
    last = result.order.around(result.context.patient)
    first = {"subject": last.pop("subject")}
    made = _Shared(("subject",), b'",' + written(KIND, first)), _Shared(tuple(last), written(KIND, last))
    result.order.parts["around"] = made
    return made


def _when(result: Result) -> _Shared:
    context, order = result.context, result.order
    said = len(context.findings)
    elements = effective(result.obx, context) or {}
    date = effective_date(elements, context)
    made = _Shared(tuple(elements), written(KIND, elements), date, lies_ahead(elements, context))
    if len(context.findings) == said:
        order.times[result.fields[14]] = made
    return made


def _who(result: Result) -> _Shared:
    fields, order, context = result.fields, result.order, result.context
    key: Hashable = (fields[15], fields[16], fields[23])
    kept: _Shared | None = order.parts.get(key)
    if kept is not None:
        return kept
    said = len(context.findings)
    people = performers(result.obx, context)
    made = _Shared(("performer",), written(KIND, {"performer": people})) if people else _NOTHING
    if len(context.findings) == said:
        order.parts[key] = made
    return made


# --- new with each result ---------------------------------------------------------------------------------------------


def _number(result: Result, draft: Draft) -> tuple[tuple[str, ...], bytes]:
    """Return the Quantity of a number that needs nothing but to be read."""
    number, shared = result.fields[5], result.shared
    if shared.bounded and shared.known.is_implausible(Decimal(number)):
        draft.hold("implausible value")
    return _QUANTITY, b'"valueQuantity":{"value":%b%b' % (number.encode(), shared.unit_text)


def _value(result: Result) -> tuple[tuple[str, ...], bytes] | None:
    """Return value[x] or dataAbsentReason, name and text; None: it takes more than one element, or an extension."""
    made: Elements | None = value(result.obx, result.context)
    if not made or len(made) != 1 or not made.keys() <= _SIMPLE_VALUES:
        return None
    return tuple(made), written(KIND, made)


def _analysed(result: Result) -> bytes:
    """Return the extension for OBX-19; of several times that differ, one each."""
    context, obx = result.context, result.obx
    if usual := usual_datetime(result.fields[19], context.zone):
        return b'%b"%b"},' % (_ANALYSED, usual.encode())  # valid as it was made: there is such a moment
    context.at(obx, 19)
    times = dict.fromkeys([at for found in obx.repeats(19) if (at := ts_datetime(found, context))])
    return b"".join([b"%b%b}," % (_ANALYSED, written_datetime(at)) for at in times])
