"""The cursors: what is owed to a view for a patient, who is paying it, and when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, or_, select, text, union_all, update

from gateway.errors import StaleClaim
from gateway.model.delivery import BACKFILL, Attempt, Delivery, DeliveryState, View
from gateway.ports import Saved
from gateway.store import attempts as kept
from gateway.store import holdings
from gateway.store.backend import Unit, chunks
from gateway.store.cursors import (
    FREE,
    KEPT,
    announced,
    delivery_of,
    free,
    fresh,
    further_back,
    rewound,
    settled,
    shared_out,
    standing,
)
from gateway.store.planning import plan
from gateway.store.schema import IS_DUE, IS_SENDING, breakers, deliveries

_D = deliveries.c
IDLE: Final = DeliveryState.IDLE.value
DUE: Final = DeliveryState.DUE.value
SENDING: Final = DeliveryState.SENDING.value

_GET = select(deliveries).where(_D.id == bindparam("id_"))
_OF_VIEW = select(deliveries).where(
    _D.recipient == bindparam("recipient_"), _D.study == bindparam("study_"), _D.patient == bindparam("patient_")
)
_ROWS = select(deliveries).where(_D.id.in_(bindparam("ids", expanding=True)))
_IN_PLANNING_ORDER = _ROWS.order_by(_D.recipient.collate("C"), _D.study.collate("C"), _D.patient).with_for_update()
"""Rows locked in the order in which ``plan`` locks them: two that want the same rows wait for each other in turn."""

_OPEN = select(breakers.c.recipient).where(breakers.c.open_until > bindparam("now_"))
_WOKEN = select(_D.id).where(_D.id.in_(bindparam("ids", expanding=True)), _D.due_at <= bindparam("now_"))
_PUBLISHED = (
    update(deliveries)
    .where(_D.id.in_(_WOKEN.with_for_update(skip_locked=True)))  # planning locks them in another order
    .values(published_at=bindparam("now_"))
)
_CLAIM = (
    update(deliveries)
    .where(_D.id.in_(bindparam("ids", expanding=True)), _D.state == DUE, _D.due_at <= bindparam("now_"))
    .values(
        state=SENDING,
        lease_until=bindparam("until_"),
        lease_owner=bindparam("owner_"),
        claimed_at=bindparam("now_"),
        claimed_upto=_D.planned,
        open_attempt=None,
    )
    .returning(deliveries)
)
_SENT_NOW = select(deliveries).where(text(IS_SENDING)).order_by(_D.lease_until).with_for_update(skip_locked=True)
_EXPIRED = _SENT_NOW.where(_D.lease_until <= bindparam("now_"))
_OWNED = _SENT_NOW.where(_D.lease_owner == bindparam("owner_"))
_SAVE = (
    update(deliveries).where(_D.id == bindparam("id_")).values({name: bindparam(f"{name}_") for name in (*KEPT, *FREE)})
)


def _first_due() -> Any:
    """Return a query of the recipients that owe something: one index step each, however much they owe."""
    first = select(func.min(_D.recipient).label("name")).where(text(IS_DUE)).cte("owing", recursive=True)
    following = select(func.min(_D.recipient)).where(text(IS_DUE), _D.recipient > first.c.name).scalar_subquery()
    owing = first.union_all(select(following).where(first.c.name.is_not(None)))
    return select(owing.c.name).where(owing.c.name.is_not(None))


_OWING = _first_due()


class SqlDeliveries:
    """The deliveries of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def plan(self, due: Mapping[tuple[View, str], int], now: datetime) -> None:
        """Raise the ``planned`` change of (view, patient) cursors, make them due now if they owe nothing yet.

        A cursor that is ``sending`` or waits for a retry keeps its state and time; a ``dead`` one stays dead.
        """
        plan(self._unit, due, now)

    def due(self, now: datetime, limit: int, republish_after: timedelta) -> list[Delivery]:
        """Return due deliveries not published since ``republish_after``, oldest first, breakers respected.

        Where there are more than ``limit``, each recipient has its share: a backlog does not crowd out the others.
        """
        owing = set(self._connection.execute(_OWING).scalars())
        recipients = sorted(owing - set(self._connection.execute(_OPEN, {"now_": now}).scalars()))
        if not recipients or limit < 1:
            return []
        oldest = [select(_due_of(place).subquery()) for place in range(len(recipients))]
        names = {f"recipient_{place}": name for place, name in enumerate(recipients)}
        asked = {**names, "now_": now, "published_": now - republish_after, "limit_": limit}
        rows = self._connection.execute(union_all(*oldest), asked).all()
        oldest_first = sorted(rows, key=lambda row: (row.due_at, row.id))
        return [delivery_of(row) for row in shared_out(oldest_first, limit)]

    def published(self, ids: Iterable[int], now: datetime) -> None:
        """Note that wake-ups for these, found due at ``now``, were confirmed by the broker.

        One that was paid meanwhile and has become due since is left alone: its next wake-up is still to come.
        """
        for some in chunks(sorted(set(ids))):
            self._connection.execute(_PUBLISHED, {"ids": some, "now_": now})

    def claim(self, delivery: int, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Claim one due delivery; None when it is not due, settled or claimed. One attempt in flight per cursor."""
        return next(iter(self.claim_many([delivery], owner, now, lease)), None)

    def claim_many(self, ids: Sequence[int], owner: str, now: datetime, lease: timedelta) -> list[Delivery]:
        """Claim those of some deliveries that are due, in the order asked."""
        if not ids:
            return []
        if len(ids) > 1 and self._connection.dialect.name == "postgresql":
            self._connection.execute(_IN_PLANNING_ORDER, {"ids": ids})
        asked = {"ids": ids, "owner_": owner, "now_": now, "until_": now + lease}
        rows = {row.id: row for row in self._connection.execute(_CLAIM, asked)}
        return [delivery_of(rows[id]) for id in dict.fromkeys(ids) if id in rows]

    def save(self, delivery: Delivery, attempt: Attempt | None, owner: str) -> None:
        """Write what came of an attempt. Raises ``StaleClaim`` when the lease went to somebody else.

        What was planned or replayed while the attempt was under way is kept: the cursor is due again at once. Saved
        as ``sending`` the lease stays, and ``attempt`` notes what is about to be sent; the next ``save`` says what
        came of it, or ``expire`` that nobody knows.
        """
        if not self.save_many([Saved(delivery, attempt)], owner):
            raise StaleClaim(f"delivery {delivery.id} went to another worker")

    def save_many(
        self, saved: Sequence[Saved], owner: str, announced_at: datetime | None = None
    ) -> dict[int, Delivery]:
        """Write what came of several attempts, as ``save`` does, and return each cursor as it stands now, by id.

        One whose lease went to somebody else is left out. Those that are due again by ``announced_at`` count as woken
        then: whoever settles them wakes them.
        """
        rows = self._locked([one.delivery.id for one in saved])
        ours = [
            (one, row)
            for one in saved
            if (row := rows.get(one.delivery.id)) is not None and row.state == SENDING and row.lease_owner == owner
        ]
        noted = kept.write(self._unit, [(one, row.open_attempt) for one, row in ours])
        stands: dict[int, Delivery] = {}
        written = []
        for (one, row), attempt in zip(ours, noted, strict=True):
            values = announced(settled(one.delivery, row, one.attempt), announced_at)
            if one.delivery.state is DeliveryState.SENDING:
                values |= {"lease_until": one.delivery.lease_until or row.lease_until, "lease_owner": owner}
                values |= {"open_attempt": attempt}
            written.append((row.id, values))
            stands[row.id] = standing(one.delivery, values)
        self._write(written)
        ended = (one.delivery for one, _ in ours if one.delivery.state is not DeliveryState.SENDING)
        holdings.keep(self._unit, {each.id for each in ended if each.number % holdings.EVERY == 0})
        return stands

    def expire(self, now: datetime, owner: str | None = None) -> int:
        """Settle deliveries whose lease ran out (or that ``owner`` held when it died) as unknown; return how many.

        The window of the interrupted attempt stays, so that the repeat carries the same changes and delivery id.
        """
        lost = {row.id: row for row in self._connection.execute(_EXPIRED, {"now_": now})}
        if owner is not None:
            lost |= {row.id: row for row in self._connection.execute(_OWNED, {"owner_": owner})}
        for id in sorted(lost):
            self._interrupt(lost[id], now)
        return len(lost)

    def get(self, delivery: int) -> Delivery | None:
        """Return one cursor."""
        row = self._connection.execute(_GET, {"id_": delivery}).one_or_none()
        return None if row is None else delivery_of(row)

    def find(
        self, *, recipient: str = "", state: str = "", before: int | None = None, limit: int = 50
    ) -> list[Delivery]:
        """Return cursors, newest first."""
        query = select(deliveries).order_by(_D.id.desc()).limit(limit)
        if recipient:
            query = query.where(_D.recipient == recipient)
        if state:
            query = query.where(_D.state == state)
        if before is not None:
            query = query.where(_D.id < before)
        return [delivery_of(row) for row in self._connection.execute(query)]

    def of_view(self, view: View, patient: str) -> Delivery | None:
        """Return the cursor of a (view, patient)."""
        asked = {"recipient_": view.recipient, "study_": view.study, "patient_": patient}
        row = self._connection.execute(_OF_VIEW, asked).one_or_none()
        return None if row is None else delivery_of(row)

    def attempts(self, delivery: int, limit: int | None = None) -> list[Attempt]:
        """Return a cursor's attempts, oldest first; with ``limit`` the newest of them."""
        return kept.attempts_of(self._unit, delivery, limit)

    def held(self, cursors: Iterable[int]) -> dict[int, holdings.Holdings]:
        """Return what the views hold or may hold of the cursors' patients, by cursor."""
        return holdings.read(self._unit, cursors)

    def replay(self, delivery: int, now: datetime, *, from_change: int | None = None) -> None:
        """Make a cursor due again from a change number (None: from where it stands) with fresh attempts.

        What comes after ``from_change`` is owed again; what is still owed stays owed. ``from_change=BACKFILL`` sends
        only what the view does not hold already. While an attempt is under way, and for a backfill while one may have
        arrived, going back waits until that is settled.
        """
        row = self._locked([delivery]).get(delivery)
        if row is None:
            return
        back = further_back(row.sent if from_change is None else from_change, row.rewind)
        if row.state == SENDING:
            leased = {name: getattr(row, name) for name in ("lease_until", "lease_owner", "open_attempt")}
            self._write([(delivery, free(row) | leased | {"rewind": back})])
        elif row.window is not None and from_change == BACKFILL:
            self._write([(delivery, free(row) | fresh(now) | {"rewind": back})])
        else:
            self._write([(delivery, rewound(free(row), further_back(back, row.sent), now))])

    def shared_held(self, view: View) -> dict[str, int]:
        """Return the shared resources a view holds: internal id -> the change number it holds."""
        return kept.shared_held(self._unit, view)

    def hold_shared(self, view: View, held: Mapping[str, int]) -> None:
        """Note the shared resources a view holds now."""
        kept.hold_shared(self._unit, view, held)

    def refuse_entries(self, delivery: int, refused: Iterable[tuple[str, str]], at: datetime) -> None:
        """List entries a recipient refused, for a person: (internal ``Type/id``, detail without personal data)."""
        kept.refuse(self._unit, delivery, refused, at)

    def refused(self, delivery: int) -> list[tuple[str, str]]:
        """Return the entries of a cursor that its recipient refused, oldest first."""
        return kept.refused(self._unit, delivery)

    def _interrupt(self, row: Any, now: datetime) -> None:
        upto = row.claimed_upto if row.window is None else row.window
        if row.open_attempt is None:
            attempt = Attempt(row.id, row.number, row.claimed_at, now, "unknown", "interrupted", upto)
            kept.write(self._unit, [(Saved(delivery_of(row), attempt), None)])
        else:
            kept.interrupt(self._unit, row.open_attempt, now)
        values = free(row) | {
            "state": DUE,
            "rewind": row.rewind,
            "window": upto,
            "attempts": row.attempts + 1,
            "due_at": now,
            "first_failed_at": row.first_failed_at or now,
            "detail": "interrupted",
        }
        self._write([(row.id, values)])

    def _locked(self, ids: Sequence[int]) -> dict[int, Any]:
        """Return rows by id, locked where the database locks rows."""
        query = _IN_PLANNING_ORDER if self._connection.dialect.name == "postgresql" else _ROWS
        return {row.id: row for row in self._connection.execute(query, {"ids": ids})} if ids else {}

    def _write(self, cursors: Sequence[tuple[int, dict[str, Any]]]) -> None:
        rows = [{"id_": id, **{f"{name}_": value for name, value in values.items()}} for id, values in cursors]
        if rows:
            self._connection.execute(_SAVE, rows)


def _due_of(place: int) -> Any:
    unpublished: ColumnElement[bool] = or_(_D.published_at.is_(None), _D.published_at <= bindparam("published_"))
    return (
        select(deliveries)
        .where(
            text(IS_DUE), _D.recipient == bindparam(f"recipient_{place}"), _D.due_at <= bindparam("now_"), unpublished
        )
        .order_by(_D.due_at)
        .limit(bindparam("limit_"))
    )
