"""The received messages: handing them out, and what became of them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, TextClause, bindparam, func, select, text, union_all, update

from gateway.model.message import Became, Message, MessageState
from gateway.ports import LaneClaim, MessageFilter
from gateway.store.backend import Unit, chunks
from gateway.store.schema import IS_OTHER, IS_STORED, gap_messages, messages
from gateway.store.types import microseconds

_M = messages.c
_LISTED = [column for column in _M if column.name not in {"raw", "acknowledgment", "digest", "positive"}]
_THESE = (
    select(*(column for column in _M if column.name != "acknowledgment"))
    .where(_M.id.in_(bindparam("ids", expanding=True)))
    .order_by(_M.id)
)
_GET = select(messages).where(_M.id == bindparam("id_"))
WAITING_BYTES: Final = 32 * 1024 * 1024
"""Messages handed out for translation together, as stored: sixty of the largest would not fit into memory."""

_BECAME = update(messages).values(
    state=bindparam("state_"),
    settled_at=bindparam("settled_at_"),
    place=bindparam("place_"),
    reason=bindparam("reason_"),
    code=bindparam("code_"),
)
_SETTLE = _BECAME.where(_M.id == bindparam("id_"))
_SETTLE_ALIKE = _BECAME.where(_M.id.in_(bindparam("ids", expanding=True)))


class SqlMessages:
    """The messages of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def waiting(self, claims: Sequence[LaneClaim], limit: int, besides: Collection[int] = ()) -> list[Message]:
        """Return the oldest stored messages of the claimed lanes, raw bytes included, in order of receipt.

        ``besides``: ids of messages that are in work already.
        """
        if not claims or limit < 1:
            return []
        lanes = {f"lane_{place}": claim.lane for place, claim in enumerate(claims)}
        rows = self._connection.execute(_oldest(len(claims)), {**lanes, "limit_": limit + len(besides)})
        known = set(besides)
        sizes = [(row.id, row.size) for row in rows if row.id not in known]
        found: list[Message] = []
        for some in chunks(_within(sizes[:limit], WAITING_BYTES)):
            found += [self._unread(row) for row in self._connection.execute(_THESE, {"ids": some})]
        return found

    def get(self, message: int) -> Message | None:
        """Return one message with its raw bytes."""
        row = self._connection.execute(_GET, {"id_": message}).one_or_none()
        return None if row is None else self._whole(row)

    def find(self, wanted: MessageFilter) -> list[Message]:
        """Return messages newest first, with ``raw`` and ``acknowledgment`` empty."""
        query = select(*_LISTED).order_by(_M.id.desc()).limit(wanted.limit)
        for condition in _conditions(wanted):
            query = query.where(condition)
        return [_message(row) for row in self._connection.execute(query)]

    def settle(self, results: Sequence[Became], at: datetime) -> None:
        """Record what became of messages: one statement for those that became alike, one for the others."""
        alike: dict[tuple[str, str, str, str], list[int]] = {}
        for one in sorted(results, key=lambda one: one.message):
            alike.setdefault((one.state.value, one.place, one.reason, one.code), []).append(one.message)
        single = []
        for (state, place, reason, code), ids in alike.items():
            values = {"state_": state, "settled_at_": at, "place_": place, "reason_": reason, "code_": code}
            if len(ids) == 1:
                single.append(values | {"id_": ids[0]})
            for some in chunks(ids) if len(ids) > 1 else ():
                self._connection.execute(_SETTLE_ALIKE, values | {"ids": some})
        if single:
            self._connection.execute(_SETTLE, single)

    def restore(self, messages: Iterable[int]) -> int:
        """Put messages back to ``stored`` so that they are translated again; return how many."""
        count = 0
        for some in chunks(sorted(set(messages))):
            back = update(_M.id.table).where(_M.id.in_(some), _M.state != MessageState.STORED.value)
            values = {"state": MessageState.STORED.value, "settled_at": None, "place": "", "reason": "", "code": ""}
            count += self._connection.execute(back.values(values)).rowcount
        return count

    def answer(self, message: int, acknowledgment: bytes) -> None:
        """Keep what the sender really got, where that is not what the message was stored with."""
        query = select(_M.digest, _M.received_at).where(_M.id == message)
        for digest, received_at in self._connection.execute(query).all():
            place = row_place(message, digest, received_at, "acknowledgment")
            values = {"acknowledgment": self._unit.cipher.seal(acknowledgment, place)}
            self._connection.execute(update(_M.id.table).where(_M.id == message).values(values))

    def with_gap(self, gap: int) -> list[int]:
        """Return the ids of the messages that showed a gap."""
        query = select(gap_messages.c.message).where(gap_messages.c.gap == gap).order_by(gap_messages.c.message)
        return list(self._connection.execute(query).scalars())

    def _unread(self, row: Any) -> Message:
        return _message(row, raw=self._unit.cipher.open(row.raw, row_place(row.id, row.digest, row.received_at, "raw")))

    def _whole(self, row: Any) -> Message:
        cipher = self._unit.cipher
        return _message(
            row,
            raw=cipher.open(row.raw, row_place(row.id, row.digest, row.received_at, "raw")),
            acknowledgment=cipher.open(
                row.acknowledgment, row_place(row.id, row.digest, row.received_at, "acknowledgment")
            ),
        )


@cache
def _oldest(lanes: int) -> TextClause:
    """Return a query of the oldest stored messages of so many lanes, with their size: one index range for each."""
    each = [
        select(_M.id, func.length(_M.raw).label("size"))
        .where(text(IS_STORED), _M.lane == bindparam(f"lane_{place}"))
        .order_by(_M.id)
        .limit(bindparam("limit_"))
        .subquery(f"of_{place}")
        for place in range(lanes)
    ]
    query = union_all(*(select(one) for one in each)).order_by(text("id")).limit(bindparam("limit_"))
    return text(str(query.compile()))  # as text, or the toolkit would walk through it each time


def _within(sizes: Sequence[tuple[int, int]], limit: int) -> list[int]:
    """Return the ids of the first of these that together take at most ``limit`` bytes as stored; one at least."""
    total = itertools.accumulate(size for _, size in sizes)
    return [id for place, ((id, _), size) in enumerate(zip(sizes, total, strict=True)) if not place or size <= limit]


def _conditions(wanted: MessageFilter) -> Iterator[ColumnElement[bool] | TextClause]:
    if wanted.feed:
        yield _M.feed == wanted.feed
    if wanted.state:
        yield _M.state == wanted.state.value
        if wanted.state not in {MessageState.STORED, MessageState.TRANSLATED}:
            yield text(IS_OTHER)
    if wanted.control_id:
        yield _M.control_id == wanted.control_id
    if wanted.since:
        yield _M.received_at >= wanted.since
    if wanted.until:
        yield _M.received_at < wanted.until
    if wanted.before is not None:
        yield _M.id < wanted.before


def _message(row: Any, raw: bytes = b"", acknowledgment: bytes = b"") -> Message:
    return Message(
        id=row.id,
        feed=row.feed,
        site=row.site,
        control_id=row.control_id,
        message_type=row.message_type,
        lane=row.lane,
        received_at=row.received_at,
        state=MessageState(row.state),
        raw=raw,
        acknowledgment=acknowledgment,
        reason=row.reason,
        place=row.place,
        settled_at=row.settled_at,
        code=row.code,
    )


def row_place(id: int, digest: bytes, received_at: datetime, column: str) -> bytes:
    """Return the associated data of one encrypted value of one message."""
    return b"messages.%s|%d|%d|%s" % (column.encode(), id, microseconds(received_at), digest)
