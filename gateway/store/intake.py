"""Storing what was received: durable before it is answered, once however often it comes (ARCHITECTURE, 1 and 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import bindparam, select

from gateway.model.message import Incoming, Intake, MessageState, Stored
from gateway.ports import Hold
from gateway.store.backend import Unit
from gateway.store.messages import row_place
from gateway.store.schema import messages
from gateway.store.types import short, storable
from gateway.store.worklist import SqlWorkList

_M = messages.c
_INSERT = messages.insert()
_POSITIVE = select(_M.id, _M.feed, _M.control_id, _M.received_at, _M.digest, _M.acknowledgment).where(_M.positive)
_SEEN_ONE = _POSITIVE.where(_M.control_id == bindparam("control_id_"), _M.feed == bindparam("feed_"))
_SEEN = _POSITIVE.where(
    _M.control_id.in_(bindparam("control_ids", expanding=True)), _M.feed.in_(bindparam("feeds", expanding=True))
)
_SAME_CONFLICT = (
    select(_M.id)
    .where(
        _M.control_id == bindparam("control_id_"),
        _M.feed == bindparam("feed_"),
        ~_M.positive,
        _M.digest == bindparam("digest_"),
        _M.state == MessageState.CONFLICT.value,
        _M.received_at >= bindparam("since_"),
    )
    .order_by(_M.id.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A positively answered message with the same feed and MSH-10."""

    id: int
    digest: bytes
    received_at: datetime
    acknowledgment: bytes


class _Intake:
    """One batch on its way in."""

    def __init__(self, unit: Unit, batch: Sequence[Incoming]) -> None:
        self._unit = unit
        self._batch = batch
        self._digests = [unit.cipher.hash_bytes("message", one.digest)[:16] for one in batch]
        self._seen: dict[tuple[str, str], list[_Seen]] = {}
        self._conflicts: dict[tuple[str, str, bytes], int] = {}
        self._rows: list[dict[str, Any]] = []

    def run(self) -> list[Stored]:
        """Store what is new and say what to answer each."""
        keys = [_lock_key(one) for one in self._batch if one.control_id]
        numbers = iter(self._unit.backend.number_messages(self._unit.connection, len(self._batch), keys))
        self._look_back()
        answers = [self._answer(one, digest, numbers) for one, digest in zip(self._batch, self._digests, strict=True)]
        if self._rows:
            self._unit.connection.execute(_INSERT, self._rows)
        self._hold_conflicts(answers)
        return answers

    def _look_back(self) -> None:
        for row in self._seen_before([one for one in self._batch if one.control_id]):
            place = row_place(row.id, row.digest, row.received_at, "acknowledgment")
            opened = self._unit.cipher.open(row.acknowledgment, place)
            seen = _Seen(row.id, row.digest, row.received_at, opened)
            self._seen.setdefault((row.feed, row.control_id), []).append(seen)

    def _seen_before(self, named: Sequence[Incoming]) -> Iterable[Any]:
        if not named:
            return ()
        if len(named) == 1:
            asked: dict[str, Any] = {"control_id_": named[0].control_id, "feed_": named[0].feed}
            return self._unit.connection.execute(_SEEN_ONE, asked)
        asked = {"control_ids": list({one.control_id for one in named}), "feeds": list({one.feed for one in named})}
        return self._unit.connection.execute(_SEEN, asked)

    def _answer(self, one: Incoming, digest: bytes, numbers: Any) -> Stored:
        key = _key(one)
        since = one.received_at - timedelta(days=one.repeat_window_days)
        earlier = [seen for seen in self._seen.get(key, ()) if seen.received_at >= since] if one.control_id else []
        for seen in earlier:
            if seen.digest == digest:
                return Stored(seen.id, Intake.REPEAT, seen.acknowledgment)
        if earlier:
            return self._conflict(one, digest, since, numbers)
        id = self._store(one, digest, next(numbers))
        if one.positive:
            self._seen.setdefault(key, []).append(_Seen(id, digest, one.received_at, one.acknowledgment))
        return Stored(id, Intake.NEW, one.acknowledgment)

    def _conflict(self, one: Incoming, digest: bytes, since: datetime, numbers: Any) -> Stored:
        known = (*_key(one), digest)
        if known not in self._conflicts:
            values = {"control_id_": one.control_id, "feed_": one.feed, "digest_": digest, "since_": since}
            found = self._unit.connection.execute(_SAME_CONFLICT, values).scalar()
            self._conflicts[known] = found or self._store(_held(one), digest, next(numbers))
        return Stored(self._conflicts[known], Intake.CONFLICT, one.conflict_acknowledgment)

    def _store(self, one: Incoming, digest: bytes, id: int) -> int:
        row = {
            "id": id,
            "feed": one.feed,
            "site": one.site,
            "control_id": one.control_id,
            "message_type": one.message_type,
            "lane": one.lane,
            "received_at": one.received_at,
            "state": one.state.value,
            "positive": one.positive,
            "digest": digest,
            "reason": one.reason,
        }
        seal = self._unit.cipher.seal
        row["raw"] = seal(one.raw, row_place(id, digest, one.received_at, "raw"))
        row["acknowledgment"] = seal(one.acknowledgment, row_place(id, digest, one.received_at, "acknowledgment"))
        self._rows.append(row)
        return id

    def _hold_conflicts(self, answers: Sequence[Stored]) -> None:
        conflicts = {answer.id for answer in answers if answer.intake is Intake.CONFLICT}
        for row in self._rows:
            if row["id"] in conflicts:
                hold = Hold("conflict", row["reason"], message=row["id"], opened_at=row["received_at"])
                SqlWorkList(self._unit).open_hold(hold)


def receive(unit: Unit, batch: Sequence[Incoming]) -> list[Stored]:
    """Store a batch inside a transaction and say what to answer each, in the same order.

    What runs at the same time with the same feed and MSH-10 waits for this transaction to end, so of two equal
    messages one is stored.
    """
    return _Intake(unit, batch).run() if batch else []


def _held(one: Incoming) -> Incoming:
    """Return a message as it is stored when its MSH-10 was seen with other content."""
    return replace(
        one,
        state=MessageState.CONFLICT,
        acknowledgment=one.conflict_acknowledgment,
        positive=False,
        reason="MSH-10 was received before with other content",
    )


def _key(one: Incoming) -> tuple[str, str]:
    return short(storable(one.feed)), short(storable(one.control_id))


def _lock_key(one: Incoming) -> int:
    feed, control_id = _key(one)
    name = f"message\x1f{feed}\x1f{control_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)
