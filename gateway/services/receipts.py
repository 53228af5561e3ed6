"""Events of amqp recipients until their receipt: a confirm of the broker is not a receipt of the recipient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from gateway.ports import Broker, Clock, Event, Store

log = structlog.get_logger()

Keep = Callable[[Sequence[Event]], None]


def keeper(store: Store, recipient: str, clock: Clock) -> Keep:
    """Return what keeps a recipient's published events in the outbox."""

    def keep(events: Sequence[Event]) -> None:
        now = clock()
        with store.begin() as tx:
            for event in events:
                tx.outbox.add(recipient, event.message_id, event.routing_key, event.body, now)

    return keep


def record_receipts(store: Store, broker: Broker, stop: Callable[[], bool]) -> None:
    """Forget each event whose receipt comes, until ``stop()``. A receipt for an unknown event is passed over."""

    def record(recipient: str, message_id: str) -> None:
        with store.begin() as tx:
            known = tx.outbox.receipt(recipient, message_id)
        if not known:
            log.info("a receipt names no event that waits for one", recipient=recipient)

    broker.receipts(record, stop)
