"""Reading the whole way from raw message to receipt; rows are streamed, whatever there is of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, func, or_, select

from gateway.model.delivery import Attempt, Delivery, DeliveryState, View
from gateway.model.message import MessageState
from gateway.ports import AuditEvent, Period, Received, Twin
from gateway.store.attempts import attempt_of
from gateway.store.backend import Unit, chunks
from gateway.store.cursors import delivery_of
from gateway.store.patients import canonical
from gateway.store.schema import attempts, audit, deliveries, messages, outbox, pages, patient_links

_M, _D, _T, _A, _P = messages.c, deliveries.c, attempts.c, audit.c, pages.c
_AT_ONCE: Final = 1000
_DAY_MICROSECONDS: Final = 86_400_000_000
_DELIVERY: Final = "delivery/"

ANSWERED: Final = (MessageState.STORED, MessageState.TRANSLATED, MessageState.UNHANDLED, MessageState.FAILED)
"""What may have become of a message that was answered positively."""


class SqlAccounts:
    """The accounts of one reading transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def received(self, period: Period) -> Iterator[Received]:
        """Count messages by feed, day, state and answer, by time of receipt."""
        day = self._day(_M.received_at).label("day")
        wrote = func.coalesce(func.sum(_P.page - _P.first_change + 1), 0)
        per_message = select(_P.message, wrote.label("versions")).where(_P.message > 0).group_by(_P.message).subquery()
        query = (
            select(_M.feed, day, _M.state, _M.positive, func.count(), func.sum(per_message.c.versions))
            .outerjoin(per_message, per_message.c.message == _M.id)
            .where(*_within(_M.received_at, period))
            .group_by(_M.feed, day, _M.state, _M.positive)
            .order_by(_M.feed, day, _M.state)
        )
        for feed, on, state, positive, count, versions in self._stream(query):
            yield Received(feed, _date(on), state, positive, count, int(versions or 0))

    def unaccounted(self, period: Period) -> Iterator[tuple[int, str]]:
        """Yield id and state of messages answered positively that are in none of the states that answer allows."""
        lost = _M.state.not_in([state.value for state in ANSWERED])
        query = select(_M.id, _M.state).where(_M.positive, lost, *_within(_M.received_at, period)).order_by(_M.id)
        yield from self._stream(query)

    def twins(self) -> Iterator[list[Twin]]:
        """Yield messages answered positively that share feed, MSH-10 and content, oldest first."""
        same = (_M.control_id, _M.feed, _M.digest)
        several = (
            select(*same).where(_M.positive, _M.control_id != "").group_by(*same).having(func.count() > 1).subquery()
        )
        query = (
            select(*same, _M.id, _M.received_at)
            .join(several, and_(*(one == several.c[one.name] for one in same)))
            .where(_M.positive)
            .order_by(*same, _M.id)
        )
        for _, found in groupby(self._stream(query), lambda row: (row.control_id, row.feed, bytes(row.digest))):
            yield [Twin(row.feed, row.id, row.received_at) for row in found]

    def cursors(self) -> Iterator[tuple[View, str, int]]:
        """Count deliveries by view and state."""
        by = (_D.recipient, _D.study, _D.state)
        for recipient, study, state, count in self._stream(select(*by, func.count()).group_by(*by).order_by(*by)):
            yield View(recipient, study), state, count

    def idle_but_owing(self) -> Iterator[tuple[int, View]]:
        """Yield the deliveries that owe something and that nothing will ever wake."""
        asleep = or_(
            and_(_D.state == DeliveryState.IDLE.value, _D.planned > _D.sent),
            and_(_D.state == DeliveryState.DUE.value, _D.due_at.is_(None)),
            and_(_D.state == DeliveryState.SENDING.value, _D.lease_until.is_(None)),
            _D.state.not_in([state.value for state in DeliveryState]),
        )
        for row in self._stream(select(_D.id, _D.recipient, _D.study).where(asleep).order_by(_D.id)):
            yield row.id, View(row.recipient, row.study)

    def attempts(self) -> Iterator[tuple[View, Attempt]]:
        """Yield every attempt, those of one delivery together, oldest first."""
        query = select(attempts, _D.recipient, _D.study).outerjoin(deliveries, _D.id == _T.delivery)
        for row in self._stream(query.order_by(_T.delivery, _T.id)):
            yield View(row.recipient or "", row.study or ""), attempt_of(row)

    def withheld(self, period: Period) -> Iterator[tuple[View, str]]:
        """Yield the detail of each audit line that says what was withheld from a view."""
        number = cast(func.substr(_A.subject, len(_DELIVERY) + 1), BigInteger)
        query = (
            select(_D.recipient, _D.study, _A.detail)
            .join_from(audit, deliveries, number == _D.id)
            .where(_A.action == "withheld", _A.subject.like(f"{_DELIVERY}%"), *_within(_A.at, period))
        )
        for recipient, study, detail in self._stream(query):
            yield View(recipient, study), detail

    def lines(self, action: str, period: Period) -> Iterator[AuditEvent]:
        """Yield the audit lines of an action, oldest first."""
        query = select(audit).where(_A.action == action, *_within(_A.at, period)).order_by(_A.id)
        for row in self._stream(query):
            yield AuditEvent(row.at, row.action, row.actor, row.subject, row.detail)

    def unreceipted(self) -> Iterator[tuple[str, int]]:
        """Count events without a receipt by recipient."""
        recipient = outbox.c.recipient
        yield from self._stream(select(recipient, func.count()).group_by(recipient).order_by(recipient))

    def known_as(self, patient: str) -> list[str]:
        """Return the Patients that are this person: the surviving one and all that were merged into it."""
        survivor = canonical(self._unit, (patient,))[patient]
        query = select(patient_links.c.alias).where(patient_links.c.survivor == survivor)
        return [survivor, *sorted(self._unit.connection.execute(query).scalars())]

    def deliveries_of(self, patients: Iterable[str]) -> list[Delivery]:
        """Return the deliveries of these Patients to whomever, configured today or not."""
        found: list[Delivery] = []
        for some in chunks(sorted(set(patients))):
            query = select(deliveries).where(_D.patient.in_(some)).order_by(_D.id)
            found += [delivery_of(row) for row in self._unit.connection.execute(query)]
        return found

    def _stream(self, query: Select[Any]) -> Iterator[Any]:
        yield from self._unit.connection.execute(query, execution_options={"yield_per": _AT_ONCE})

    def _day(self, moment: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the day (UTC) of a moment: a date, or its number since 1970 in SQLite."""
        if self._unit.connection.dialect.name == "postgresql":
            return func.date(func.timezone("UTC", moment))
        return cast(moment, BigInteger).op("/")(_DAY_MICROSECONDS)


def _within(moment: ColumnElement[Any], period: Period) -> Iterator[ColumnElement[bool]]:
    if period.since is not None:
        yield moment >= period.since
    if period.until is not None:
        yield moment < period.until


def _date(day: Any) -> date:
    return day if isinstance(day, date) else date(1970, 1, 1) + timedelta(days=int(day))
