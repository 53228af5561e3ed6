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

    def keep(self, events: Sequence[tuple[int, Event]]) -> None:
        """Keep events until their receipt, each with its delivery; one that is kept already stays as it is."""
        with self._store.begin() as tx:
            tx.outbox.add_many(self._recipient, events, self._clock())
        log.debug("events wait for their receipt", events=[event.message_id for _, event in events])

    def forget(self, events: Sequence[Event]) -> None:
        """Forget events that were not published after all."""
        with self._store.begin() as tx:
            tx.outbox.receipts(self._recipient, [event.message_id for event in events])


def record_receipts(store: Store, broker: Broker, stop: Callable[[], bool]) -> None:
    """Forget each event whose receipt comes, until ``stop()``. A receipt for an unknown event is passed over."""

    def record(receipts: Sequence[tuple[str, str]]) -> None:
        named: dict[str, set[str]] = {}
        for recipient, message_id in receipts:
            named.setdefault(recipient, set()).add(message_id)
        with store.begin() as tx:
            known = {recipient: tx.outbox.receipts(recipient, named[recipient]) for recipient in sorted(named)}
        for recipient, count in known.items():
            log.debug("receipts came", recipient=recipient, events=count)
            if count < len(named[recipient]):
                strangers = len(named[recipient]) - count
                log.info("receipts name no event that waits for one", recipient=recipient, receipts=strangers)

    broker.receipts(record, stop)
