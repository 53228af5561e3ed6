"""Events of amqp recipients until their receipt: a confirm of the broker is not a receipt of the recipient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from gateway.ports import Broker, Clock, Event, Store

log = structlog.get_logger()


class RecipientOutbox:
    """One recipient's published events, in the store."""

    def __init__(self, store: Store, recipient: str, clock: Clock) -> None:
        self._store = store
        self._recipient = recipient
        self._clock = clock

    def keep(self, delivery: int, events: Sequence[Event]) -> None:
        """Keep events of a delivery until their receipt; one that is kept already stays as it is."""
        now = self._clock()
        with self._store.begin() as tx:
            for event in events:
                tx.outbox.add(self._recipient, delivery, event, now)
        log.debug("events wait for their receipt", delivery=delivery, events=[event.message_id for event in events])

    def forget(self, events: Sequence[Event]) -> None:
        """Forget events that were not published after all."""
        with self._store.begin() as tx:
            for event in events:
                tx.outbox.receipt(self._recipient, event.message_id)


def record_receipts(store: Store, broker: Broker, stop: Callable[[], bool]) -> None:
    """Forget each event whose receipt comes, until ``stop()``. A receipt for an unknown event is passed over."""

    def record(recipient: str, message_id: str) -> None:
        with store.begin() as tx:
            known = tx.outbox.receipt(recipient, message_id)
        if known:
            log.debug("a receipt came", recipient=recipient, event=message_id)
        else:
            log.info("a receipt names no event that waits for one", recipient=recipient)

    broker.receipts(record, stop)
