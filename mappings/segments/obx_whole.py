"""An Observation put together from parts that are checked and written already (``obx_shared``).

Times and what comes of the order are made once per order, people once per site, so that only the value is new with each
result. The rows of ``OBX_OBSERVATION`` make all of it: a result put together is, byte for byte, what the segment map
makes of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.errors import InvalidResource
from gateway.fhir.parts import written, written_datetime
from gateway.fhir.piecewise import stand_together
from gateway.hl7v2.message import Segment
from gateway.model.identity import named_id
from gateway.model.names import ANALYSED
from gateway.model.translation import Gap
from mappings.context import Context, Draft, Sealed
from mappings.datatypes.ts import ts_datetime, usual_datetime
from mappings.segments.obx import OBX_OBSERVATION, effective, identity, performers
from mappings.segments.obx_document import state_documents
from mappings.segments.obx_meaning import say
from mappings.segments.obx_media import NOTED
from mappings.segments.obx_order import AHEAD, Order, lies_ahead
from mappings.segments.obx_parts import KIND
from mappings.segments.obx_shared import Names, Shared, shared_by
from mappings.segments.obx_usual import said_value, usual_number
from mappings.statements import effective_date, ousted

EACH_TIME: Final = frozenset({"OBX-5", "OBX-14", "OBX-16", "OBX-19", "OBX-21"})
"""First fields of the rows that make no shared part: this module applies them to every OBX."""

_READ: Final = 24
_PADDING: Final = [""] * _READ
_TAKEN_BACK: Final = frozenset({"entered-in-error", "cancelled"})
_ANALYSED: Final = b'{"url":"%b","valueDateTime":' % ANALYSED.encode()
_EXTENSION: Final = ("extension",)


class _Part(Struct, frozen=True, eq=False):
    """Elements that results share: their names and JSON; of times, the moment and whether it is ahead."""

    names: tuple[str, ...] = ()
    text: bytes = b""
    date: datetime | None = None
    ahead: bool = False


class _People(Struct, frozen=True):
    """Who answers for results: the element, the shared resources it states, and what was not mapped of them."""

    part: _Part
    stated: tuple[Draft, ...]
    gaps: tuple[Gap, ...]


_NOTHING: Final = _Part()
_Key = tuple[Names, _Part, _Part, tuple[str, ...], bool]


class Results:
    """States the results of one order."""

    def __init__(self, order: Order, context: Context) -> None:
        self._order = order
        self._context = context
        self._ends: tuple[_Part, _Part] | None = None
        self._times: dict[str, _Part] = {}
        self._people: dict[Hashable, _Part] = {}
        self._together: dict[_Key, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def state(self, obx: Segment) -> Draft:
        """State the Observation of an OBX, from parts where there are, else by its segment map.

        It is for the segment map where there are no parts, where a field is nulled, where the result has an identifier
        of its own (OBX-21) or was stated before, where a finding has to be said of a part (it names the place), where
        the value takes more than one element, and where something is not valid FHIR.
        """
        order, context = self._order, self._context
        fields = obx.fields()
        if len(fields) < _READ:
            fields = fields + _PADDING[len(fields) :]
        shared = shared_by(obx, fields, order, context)
        if shared.known.gaps or shared.known.finding:
            say(shared.known, obx, context)
        if fields[21]:
            return self._converted(obx, context.id(KIND, *order.key, *identity(obx, context)))
        id = named_id(context.id_key, order.prefix + shared.name + order.ordinal(shared.named))
        key = (KIND, id)
        if not shared.parted or key in context.drafts or context.tracing or '""' in obx.line:
            return self._converted(obx, id)
        draft = context.drafts[key] = Draft(KIND, id, {}, context.patient)
        said = len(context.findings)
        try:
            draft.sealed = self._sealed(obx, fields, shared, draft)
        except InvalidResource:
            draft.sealed = None  # the check of the whole says what, in its turn
        if draft.sealed is not None:
            return draft
        while len(context.findings) > said:  # the segment map says them, in its order
            context.findings.popitem()
        draft.body, draft.held = {"resourceType": KIND, "id": id}, ""
        return self._converted(obx, id)

    def _converted(self, obx: Segment, id: str) -> Draft:
        """Convert an OBX by its segment map."""
        context = self._context
        draft = context.draft(KIND, id)
        around = self._order.around(context.patient)
        draft.body["subject"] = around.pop("subject")
        OBX_OBSERVATION.apply(obx, context, draft)
        draft.body |= around
        if lies_ahead(draft.body, context):
            draft.hold(AHEAD)
        if draft.body.get("status") in _TAKEN_BACK:
            draft.held = ""
        if NOTED in context.memo:
            state_documents(obx, draft, context)
        return draft

    def _sealed(self, obx: Segment, fields: list[str], shared: Shared, draft: Draft) -> Sealed | None:
        """Return the body; None: its value is for the segment map."""
        context = self._context
        context.segment = obx
        first, last = self._ends or self._around()
        when = self._times.get(fields[14]) or self._when(obx)
        who = _NOTHING
        if fields[15] or fields[16] or fields[23]:
            people = (fields[15], fields[16], fields[23])
            who = self._people.get(people) or self._who(obx, people)
        said = usual_number(fields[5], shared, draft) or said_value(obx, fields, shared, draft, context)
        if said is None:
            return None
        extension = shared.extension
        if fields[19]:
            extension += self._analysed(obx, fields[19])
        key = (shared.names, when, who, said[0], not extension)
        names, others = self._together.get(key) or self._standing_together(key, last.names)
        if shared.status in _TAKEN_BACK:
            draft.held = ""
        elif shared.held or when.ahead:
            draft.held = draft.held or shared.held or AHEAD
        for gap in shared.gaps:
            context.gaps[gap] = None
        text = b"".join((
            b'{"resourceType":"Observation","id":"', draft.id.encode(), first.text, shared.before, when.text, who.text,
            said[1], shared.after, *((b'"extension":[', extension[:-1], b"],") if extension else ()), last.text,
        ))  # fmt: skip
        return Sealed(text, names, shared.code, when.date, shared.status, others)

    def _standing_together(self, key: _Key, last: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the elements, once these may stand together whatever they say, and what they oust.

        Raises ``InvalidResource`` where they may not.
        """
        shared, when, who, value_names, bare = key
        extension = () if bare else _EXTENSION
        names = ("subject", *shared.before, *when.names, *who.names, *value_names, *shared.after, *extension, *last)
        if not stand_together(KIND, frozenset(names)):
            raise InvalidResource(KIND, "its elements must be judged together")
        made = self._together[key] = names, ousted(KIND, names)
        return made

    # --- made once for the order --------------------------------------------------------------------------------------

    def _around(self) -> tuple[_Part, _Part]:
        """Return what stands behind the id (Observation.subject), and at the end of every result of the order."""
        last = self._order.around(self._context.patient)
        first = {"subject": last.pop("subject")}
        made = _Part(("subject",), b'",' + written(KIND, first)), _Part(tuple(last), written(KIND, last))
        self._ends = made
        return made

    def _when(self, obx: Segment) -> _Part:
        context = self._context
        said = len(context.findings)
        elements = effective(obx, context) or {}
        date = effective_date(elements, context)
        made = _Part(tuple(elements), written(KIND, elements), date, lies_ahead(elements, context))
        if len(context.findings) == said:
            self._times[obx.raw(14)] = made
        return made

    def _who(self, obx: Segment, said: Hashable) -> _Part:
        """Return the performers, which are kept for the site, and state them in this message."""
        context = self._context
        key = ("people", said, self._order.dialect)
        people: _People | None = context.cache.get(key)
        if people is None:
            before = len(context.findings)
            people = _people(obx, context)
            if len(context.findings) > before:
                return self._stated(people)
            context.cache[key] = people
        made = self._people[said] = self._stated(people)
        return made

    def _stated(self, people: _People) -> _Part:
        for gap in people.gaps:
            self._context.gaps[gap] = None
        for draft in people.stated:
            self._context.state(draft)
        return people.part

    # --- new with each result -----------------------------------------------------------------------------------------

    def _analysed(self, obx: Segment, sent: str) -> bytes:
        """Return the extension for OBX-19; of several times that differ, one each."""
        context = self._context
        if usual := usual_datetime(sent, context.zone):
            return _ANALYSED + b'"' + usual.encode() + b'"},'  # valid as it was made: there is such a moment
        context.at(obx, 19)
        times = dict.fromkeys([at for found in obx.repeats(19) if (at := ts_datetime(found, context))])
        return b"".join([b"%b%b}," % (_ANALYSED, written_datetime(at)) for at in times])


def _people(obx: Segment, context: Context) -> _People:
    """Convert who answers for a result, apart from what else the message states."""
    drafts, gaps = context.drafts, context.gaps
    context.drafts, context.gaps = {}, {}
    try:
        people = performers(obx, context)
        part = _Part(("performer",), written(KIND, {"performer": people})) if people else _NOTHING
        return _People(part, tuple(context.drafts.values()), tuple(context.gaps))
    finally:
        context.drafts, context.gaps = drafts, gaps
