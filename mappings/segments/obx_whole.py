"""An Observation put together from parts that are checked and written already (``obx_parts``).

Times, people and what comes of the order are made once per order, so that only the value is new with each result. The
rows of ``OBX_OBSERVATION`` make all of it: a result put together is, byte for byte, what the segment map makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.parts import written
from gateway.fhir.piecewise import check_element, check_together
from gateway.hl7v2.message import Segment
from gateway.model.names import ANALYSED
from mappings.context import Context, Draft
from mappings.datatypes.ts import ts_datetime
from mappings.numbers import is_plain
from mappings.segments.obx import effective, performers
from mappings.segments.obx_meaning import Meaning
from mappings.segments.obx_order import Order
from mappings.segments.obx_parts import KIND, Elements, Part, extensions_text, measured, standing
from mappings.segments.obx_value import value

EACH_TIME: Final = frozenset({"OBX-5", "OBX-14", "OBX-16", "OBX-19", "OBX-21"})
"""First fields of the rows that make no shared part: this module applies them to every OBX."""

_PADDING: Final = [""] * 24
_SIMPLE_VALUES: Final = frozenset(
    {"valueQuantity", "valueString", "valueCodeableConcept", "valueRange", "valueRatio", "valueDateTime"}
    | {"valueTime", "valuePeriod", "dataAbsentReason"}
)
_NOTHING: Final[tuple[Elements, bytes]] = {}, b""
_ANALYSED: Final = b'{"url":"%b","valueDateTime":"' % ANALYSED.encode()


def put_together(obx: Segment, draft: Draft, order: Order, known: Meaning, context: Context) -> bool:
    """Fill a new draft from parts, sealed. False: nothing was done, this OBX is for the segment map to convert.

    ``known`` is what its code and unit mean. It is for the segment map where a field is nulled, where the result has
    an identifier of its own (OBX-21), where a finding has to be said of a part (it names the place), where the value
    takes more than one element, and where a part is not valid FHIR.
    """
    fields = obx.fields()
    if len(fields) < len(_PADDING):
        fields = fields + _PADDING[len(fields) :]
    if fields[21] or context.tracing or '""' in obx.line:
        return False
    context.segment = obx
    what, how = measured(obx, fields, known, order.dialect, context), standing(obx, fields, order.dialect, context)
    if what is None or how is None:
        return False
    outer, context.current, said = context.current, draft, len(context.findings)
    filled = _Result(obx, fields, what, how, known, order, context).fill(draft)
    while not filled and len(context.findings) > said:
        context.findings.popitem()  # the segment map says it, in its order
    context.current = outer
    return filled


@dataclass(slots=True)
class _Result:
    """One OBX: its fields (as many as are read, empty ones too), and what it shares with others."""

    obx: Segment
    fields: list[str]
    what: Part
    how: Part
    known: Meaning
    order: Order
    context: Context

    def fill(self, draft: Draft) -> bool:
        """Fill the draft; False where the value takes more than an element, or something is not valid FHIR."""
        try:
            return self._fill(draft)
        except InvalidResource:
            return False  # the check of the whole says what, in its turn

    def _fill(self, draft: Draft) -> bool:
        what, how, context = self.what, self.how, self.context
        subject, subject_text, around, around_text = self._around()
        when, when_text = self._when()
        who, who_text = self._who() if self.fields[15] or self.fields[16] or self.fields[23] else _NOTHING
        found = self._value()
        if found is None:
            return False
        said, said_text = found
        extension, extension_text = self._extension()
        body = {
            "resourceType": KIND, "id": draft.id, **subject, **how.first, **what.first, **when, **who, **said,
            **how.last, **what.last, **extension, **around,
        }  # fmt: skip
        names = tuple(body)
        if names not in context.cache:
            check_together(body)  # of an Observation without components it asks nothing but which elements are there
            context.cache[names] = True
        draft.body, draft.code = body, what.code
        draft.hold(what.held)
        for gap in (*how.gaps, *what.gaps):
            context.gaps[gap] = None
        texts = (
            b'{"resourceType":"Observation","id":"', draft.id.encode(), b'",', subject_text, how.first_text,
            what.first_text, when_text, who_text, said_text, how.last_text, what.last_text, extension_text, around_text,
        )  # fmt: skip
        draft.seal(b"".join(texts))
        return True

    # --- made once for the order ------------------------------------------------------------------------------------

    def _around(self) -> tuple[Elements, bytes, Elements, bytes]:
        """Return Observation.subject, and the other elements that every result of the order has of it."""
        parts = self.order.parts
        kept: tuple[Elements, bytes, Elements, bytes] | None = parts.get("around")
        if kept is None:
            last = self.order.around(self.context.patient)
            first = {"subject": last.pop("subject")}
            kept = parts["around"] = (first, written(KIND, first), last, written(KIND, last))
        return kept

    def _when(self) -> tuple[Elements, bytes]:
        key = ("when", self.fields[14])
        return self.order.parts.get(key) or self._of_order(key, lambda: effective(self.obx, self.context))

    def _who(self) -> tuple[Elements, bytes]:
        fields = self.fields
        key = ("who", fields[15], fields[16], fields[23])
        return self.order.parts.get(key) or self._of_order(key, self._performers)

    def _performers(self) -> Elements:
        people = performers(self.obx, self.context)
        return {"performer": people} if people else {}

    def _of_order(self, key: Hashable, make: Callable[[], Elements | None]) -> tuple[Elements, bytes]:
        """Make a part of this order's results, and keep it unless a finding had to be said of it."""
        said = len(self.context.findings)
        elements = make() or {}
        made = elements, written(KIND, elements)
        if len(self.context.findings) == said:
            self.order.parts[key] = made
        return made

    # --- new with each result ---------------------------------------------------------------------------------------

    def _value(self) -> tuple[Elements, bytes] | None:
        """Return value[x] or dataAbsentReason; None: it takes more than one element, or an extension."""
        unit, number = self.what.unit, self.fields[5]
        if unit is not None and self.fields[2] == "NM" and is_plain(number, self.context.site.thousands):
            exact = Decimal(number)
            if self.known.is_implausible(exact):
                self.context.hold("implausible value")
            text = b'"valueQuantity":{"value":%b%b' % (str(exact).encode(), self.what.unit_text)
            return {"valueQuantity": {"value": exact, **unit}}, text
        made = value(self.obx, self.context)
        if not made or len(made) != 1 or not made.keys() <= _SIMPLE_VALUES:
            return None
        return made, written(KIND, made)

    def _extension(self) -> tuple[Elements, bytes]:
        extension, text = self.what.extension + self.how.extension, self.what.extension_text + self.how.extension_text
        if self.fields[19]:
            more, more_text = self._analysed()
            extension += more
            text += more_text
        return ({"extension": extension}, b'"extension":[%b],' % text[:-1]) if extension else _NOTHING

    def _analysed(self) -> tuple[list[Any], bytes]:
        """Return the extension for OBX-19; of several times that differ, one each."""
        context, obx = self.context, self.obx
        context.at(obx, 19)
        times = dict.fromkeys(at for found in obx.repeats(19) if (at := ts_datetime(found, context)))
        made = [{"url": ANALYSED, "valueDateTime": at} for at in times]
        if all(check_element(KIND, "effectiveDateTime", at) for at in times):
            return made, b"".join(_ANALYSED + at.encode() + b'"},' for at in times)
        return made, extensions_text(made)
