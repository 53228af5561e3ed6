"""Released events of amqp recipients until their receipt comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, select, update

from gateway.ports import Event, Unreceipted
from gateway.store.backend import Unit, chunks, ignoring
from gateway.store.schema import outbox
from gateway.store.types import short, storable

_O = outbox.c


class SqlOutbox:
    """The outbox of one transaction. Bodies are encrypted."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def add(self, recipient: str, delivery: int, event: Event, at: datetime) -> None:
        """Keep an event of a delivery; the same message id is kept once for a recipient."""
        self.add_many(recipient, [(delivery, event)], at)

    def add_many(self, recipient: str, events: Sequence[tuple[int, Event]], at: datetime) -> None:
        """Keep events, each with its delivery; the same message id is kept once for a recipient."""
        insert = ignoring(self._unit.backend.insert, outbox, "message_id", "recipient")
        rows = [
            {
                "message_id": event.message_id,
                "recipient": recipient,
                "delivery": delivery,
                "routing_key": event.routing_key,
                "body": self._unit.cipher.seal(event.body, event_place(recipient, event.message_id)),
                "added_at": at,
                "published_at": at,
            }
            for delivery, event in sorted(events, key=lambda each: each[1].message_id)
        ]
        if rows:
            self._connection.execute(insert, rows)

    def receipt(self, recipient: str, message_id: str) -> bool:
        """Forget an event the recipient has; False when it is not known."""
        return self.receipts(recipient, [message_id]) > 0

    def receipts(self, recipient: str, message_ids: Iterable[str]) -> int:
        """Forget events the recipient has; return how many were known."""
        gone = 0
        for some in chunks(sorted(set(message_ids))):
            query = delete(outbox).where(_O.message_id.in_(some), _O.recipient == recipient)
            gone += self._connection.execute(query).rowcount
        return gone

    def unreceipted(self, recipient: str, older_than: datetime, limit: int) -> list[Unreceipted]:
        """Return events published before ``older_than``, oldest first."""
        query = select(outbox).where(_O.recipient == recipient, _O.published_at < older_than)
        rows = self._connection.execute(query.order_by(_O.published_at, _O.added_at, _O.message_id).limit(limit))
        unseal = self._unit.cipher.open
        return [
            Unreceipted(
                row.message_id,
                row.delivery,
                row.routing_key,
                unseal(row.body, event_place(row.recipient, row.message_id)),
            )
            for row in rows
        ]

    def republished(self, message_ids: Iterable[str], at: datetime) -> None:
        """Note that these were published again."""
        for some in chunks(sorted(set(message_ids))):
            self._connection.execute(update(outbox).where(_O.message_id.in_(some)).values(published_at=at))

    def prune(self, recipient: str, before: datetime) -> int:
        """Forget what is older than the recipient's ``keep``; return how many."""
        return self._connection.execute(delete(outbox).where(_O.recipient == recipient, _O.added_at < before)).rowcount


def event_place(recipient: str, message_id: str) -> bytes:
    """Return the associated data of one event's encrypted body."""
    named = (short(storable(recipient)), short(storable(message_id)))
    return b"outbox.body|" + "|".join(named).encode()
