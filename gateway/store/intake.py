"""Storing what was received: durable before it is answered, once however often it comes (ARCHITECTURE, 1 and 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import bindparam, select

from gateway.model.message import Incoming, Intake, MessageState, Stored
from gateway.ports import Hold
from gateway.store.arrivals import ArrivalRow, Arrivals
from gateway.store.backend import Backend, Unit, driver
from gateway.store.cipher import Cipher
from gateway.store.messages import row_place
from gateway.store.schema import messages
from gateway.store.types import short, storable
from gateway.store.worklist import SqlWorkList

_M = messages.c
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

_Key = tuple[str, str]
"""Feed and control id, as they are stored."""


@dataclass(slots=True)
class _Seen:
    """A positively answered message with the same feed and MSH-10; ``sealed``: its answer, when another batch's."""

    id: int
    digest: bytes
    received_at: datetime
    acknowledgment: bytes = b""
    sealed: bytes = b""


class ConflictFound(Exception):
    """A control id was used before for other content: the batch needs more than its own table."""


class _Intake:
    """One batch on its way in. Without a ``unit`` it raises ``ConflictFound`` at the first conflict."""

    def __init__(
        self, driver: Any, arrivals: Arrivals, cipher: Cipher, batch: Sequence[Incoming], unit: Unit | None
    ) -> None:
        self._driver = driver
        self._arrivals = arrivals
        self._cipher = cipher
        self._unit = unit
        self._batch = batch
        self._keys = [_key(one) for one in batch]
        self._seen: dict[_Key, list[_Seen]] = {}
        self._conflicts: dict[tuple[_Key, bytes], int] = {}
        self._holds: list[Hold] = []
        self._rows: list[ArrivalRow] = []

    def run(self) -> list[Stored]:
        """Store what is new and say what to answer each."""
        numbers = self._admit()
        answers = [self._answer(one, key, numbers) for one, key in zip(self._batch, self._keys, strict=True)]
        if self._rows:
            self._arrivals.insert(self._driver, self._rows)
        if self._unit:
            for hold in self._holds:
                SqlWorkList(self._unit).open_hold(hold)
        return answers

    def _admit(self) -> Iterator[int]:
        """Lock out whoever stores the same, draw ids and look back at what was stored before."""
        named: dict[str, list[str]] = {}
        for feed, control_id in {key for key in self._keys if key[1]}:
            named.setdefault(feed, []).append(control_id)
        locks = [_lock_key(feed, control_id) for feed, control_ids in named.items() for control_id in control_ids]
        numbers, seen = self._arrivals.admit(self._driver, len(self._batch), locks, named)
        for id, feed, control_id, received_at, digest, sealed in seen:
            found = _Seen(id, bytes(digest), received_at, sealed=sealed)
            self._seen.setdefault((feed, control_id), []).append(found)
        return iter(numbers)

    def _answer(self, one: Incoming, key: _Key, numbers: Iterator[int]) -> Stored:
        digest = self._cipher.hash_bytes("message", one.digest)[:16]
        if key[1] and (known := self._seen.get(key)):
            since = one.received_at - timedelta(days=one.repeat_window_days)
            earlier = [seen for seen in known if seen.received_at >= since]
            for seen in earlier:
                if seen.digest == digest:
                    return Stored(seen.id, Intake.REPEAT, self._answered(seen))
            if earlier:
                return self._conflict(one, key, digest, since, numbers)
        id = self._store(one, key, digest, next(numbers))
        if one.positive:
            self._seen.setdefault(key, []).append(_Seen(id, digest, one.received_at, one.acknowledgment))
        return Stored(id, Intake.NEW, one.acknowledgment)

    def _answered(self, seen: _Seen) -> bytes:
        if not seen.sealed:
            return seen.acknowledgment
        place = row_place(seen.id, seen.digest, seen.received_at, "acknowledgment")
        return self._cipher.open(seen.sealed, place)

    def _conflict(self, one: Incoming, key: _Key, digest: bytes, since: datetime, numbers: Iterator[int]) -> Stored:
        if self._unit is None:
            raise ConflictFound
        answer = one.answer_conflict()
        if (key, digest) not in self._conflicts:
            values = {"control_id_": one.control_id, "feed_": one.feed, "digest_": digest, "since_": since}
            found = self._unit.connection.execute(_SAME_CONFLICT, values).scalar()
            self._conflicts[key, digest] = found or self._hold(one, key, digest, answer, next(numbers))
        return Stored(self._conflicts[key, digest], Intake.CONFLICT, answer)

    def _hold(self, one: Incoming, key: _Key, digest: bytes, answer: bytes, id: int) -> int:
        """Store a message whose MSH-10 was seen with other content, and have a person look at it."""
        held = replace(
            one,
            state=MessageState.CONFLICT,
            acknowledgment=answer,
            positive=False,
            reason="MSH-10 was received before with other content",
        )
        self._holds.append(Hold("conflict", held.reason, message=id, opened_at=one.received_at))
        return self._store(held, key, digest, id)

    def _store(self, one: Incoming, key: _Key, digest: bytes, id: int) -> int:
        seal = self._cipher.seal
        row = (
            id,
            key[0],
            storable(one.site),
            key[1],
            storable(one.message_type),
            one.lane,
            one.received_at,
            one.state.value,
            one.positive,
            digest,
            seal(one.raw, row_place(id, digest, one.received_at, "raw")),
            seal(one.acknowledgment, row_place(id, digest, one.received_at, "acknowledgment")),
            storable(one.reason),
        )
        self._rows.append(row)
        return id


def receive(backend: Backend, cipher: Cipher, batch: Sequence[Incoming]) -> list[Stored]:
    """Store a batch in one transaction and say what to answer each, in the same order; the turn is held already.

    What runs at the same time with the same feed and MSH-10 waits for this transaction to end, so of two equal
    messages one is stored.
    """
    if not batch:
        return []
    arrivals = backend.arrivals
    try:
        with arrivals.transaction() as base:
            return _Intake(base, arrivals, cipher, batch, None).run()
    except ConflictFound:
        with backend.writer.begin() as connection:
            unit = Unit(connection, backend, cipher)
            return _Intake(driver(connection), arrivals, cipher, batch, unit).run()


def _key(one: Incoming) -> _Key:
    return short(storable(one.feed)), short(storable(one.control_id))


def _lock_key(feed: str, control_id: str) -> int:
    name = f"message\x1f{feed}\x1f{control_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)
