"""From rows to wake-ups: what is due is published, what was lost in the broker is published again.

The relay holds nothing itself: wipe the broker or restart the relay, and the rows say what is due. Several may run at
once; a delivery that is woken twice is claimed once.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from gateway.errors import BrokerError, BrokerUnavailable, QueueFull, StoreError
from gateway.model.delivery import Delivery
from gateway.model.event import headers
from gateway.model.recipient import Recipient
from gateway.ports import AuditEvent, Broker, Clock, Event, Store, Transaction, Unreceipted
from gateway.services.waiting import growing, wait_before
from gateway.services.wake_ups import bodies_of

log = structlog.get_logger()

MayLeave = Callable[[Transaction, Unreceipted, datetime], bool]
"""Says whether an event released before may be sent once more now (``gateway.services.still``)."""

EXPIRED: Final = "events-expired"
"""The action of the audit line that says how many events were given up without a receipt."""

SET_BACK: Final = "clock-set-back"
"""The action of the audit line that says that the clock was set back, and by how much."""

NOTICED: Final = timedelta(minutes=1)
"""A clock that is set back by less than this delays what waits by as much, and nothing is done about it."""

TROUBLE: Final = growing(timedelta(seconds=0.5), timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How often the relay looks, and when it does something again.

    ``republish_after``: a due delivery whose wake-up was confirmed is woken again after this. ``receipt_after``: an
    event without receipt is published again after this if the recipient's queue is empty, after
    ``receipt_after_busy`` if something waits there. ``broker_forgets``: the broker ends with this program, so what was
    announced before it began is announced again at once.
    """

    interval: timedelta = timedelta(seconds=0.5)
    batch: int = 1000
    republish_after: timedelta = timedelta(seconds=60)
    look_at_feeds_every: timedelta = timedelta(seconds=2)
    look_at_receipts_every: timedelta = timedelta(seconds=5)
    receipt_after: timedelta = timedelta(seconds=60)
    receipt_after_busy: timedelta = timedelta(hours=1)
    broker_forgets: bool = False


class Relay:
    """Publishes wake-ups. ``step`` does one round, ``run`` goes on until told to stop."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        recipients: Mapping[str, Recipient],
        may_leave: MayLeave,
        clock: Clock,
        *,
        settings: RelaySettings | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._may_leave = may_leave
        self._amqp = [one for one in recipients.values() if one.kind == "amqp"]
        self._clock = clock
        self._settings = settings or RelaySettings()
        self._looked: dict[str, datetime] = {}
        self._nudged = threading.Event()
        self._began = clock()
        self._latest: datetime | None = None

    def step(self, now: datetime) -> int:
        """Do one round and return how many deliveries were woken.

        Raises ``StoreError`` or ``BrokerError``; nothing is lost by it.
        """
        self._follow(now)
        woken = self._wake_due(now)
        if self._is_time("feeds", now, self._settings.look_at_feeds_every):
            self._wake_translation()
        if self._amqp and self._is_time("receipts", now, self._settings.look_at_receipts_every):
            for recipient in self._amqp:
                self._publish_again(recipient, now)
        return woken

    def run(self, stop: Callable[[], bool]) -> None:
        """Go on until ``stop()``: at each nudge, and every ``interval``.

        A store or broker that is away is waited for, ever longer; that is logged once when it starts and once when it
        ends.
        """
        failures = 0
        with self._listening():
            while not stop():
                try:
                    while not stop() and self.step(self._clock()) >= self._settings.batch:
                        pass
                    pause = self._settings.interval
                    failures = self._settle_trouble(failures)
                except (StoreError, BrokerError) as error:
                    failures += 1
                    pause = wait_before(TROUBLE, failures)
                    if failures == 1:
                        log.warning("the relay cannot work", reason=type(error).__name__)
                self._pause(pause, stop)

    def _settle_trouble(self, failures: int) -> int:
        if failures:
            log.info("the relay works again", failures=failures)
        return 0

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Hear nudges on a thread that ends with the block, however it ends."""
        over = threading.Event()
        hear = partial(self._broker.consume, "relay", lambda _: self._nudged.set(), over.is_set)
        listener = threading.Thread(target=hear, name="relay-nudges")
        listener.start()
        try:
            yield
        finally:
            over.set()
            listener.join()

    def _pause(self, pause: timedelta, stop: Callable[[], bool]) -> None:
        left = pause.total_seconds()
        while left > 0 and not stop():
            if self._nudged.wait(min(left, 0.2)):
                self._nudged.clear()
                return
            left -= 0.2

    def _is_time(self, what: str, now: datetime, every: timedelta) -> bool:
        if what in self._looked and now - self._looked[what] < every:
            return False
        self._looked[what] = now
        return True

    def _follow(self, now: datetime) -> None:
        """Notice that the clock was set back, also while nothing ran: the audit trail tells when it was last right."""
        if self._latest is None:
            with self._store.begin(write=False) as tx:
                self._latest = max([now, *(event.at for event in tx.audit.find(limit=1))])
        back = self._latest - now
        if back >= NOTICED:
            with self._store.begin() as tx:
                tx.set_back(now, back)
                tx.audit.write([AuditEvent(now, SET_BACK, "relay", "clock", f"by {back}")])
            log.warning("the clock was set back; what waits is due as soon as it was before", by=str(back))
            self._looked.clear()
            self._began = min(self._began, now)
            self._latest = now
        self._latest = max(self._latest, now)

    def _wake_due(self, now: datetime) -> int:
        with self._store.begin() as tx:
            tx.deliveries.expire(now)
            due = tx.deliveries.due(now, self._settings.batch, self._republish_after(now))
        by_recipient: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in due:
            by_recipient[delivery.view.recipient].append(delivery)
        for recipient, deliveries in by_recipient.items():
            self._wake(recipient, [one.id for one in deliveries], now)
        return len(due)

    def _republish_after(self, now: datetime) -> timedelta:
        """Return how old an announcement must be: before this program began a broker inside it heard none."""
        usual = self._settings.republish_after
        return min(usual, now - self._began) if self._settings.broker_forgets else usual

    def _wake(self, recipient: str, deliveries: Sequence[int], now: datetime) -> None:
        try:
            self._broker.wake(f"deliver.{recipient}", bodies_of(deliveries))
        except BrokerUnavailable:
            raise
        except QueueFull:
            log.info("enough wake-ups wait already", recipient=recipient)
        except BrokerError as error:
            log.warning("nobody delivers to this recipient", recipient=recipient, reason=type(error).__name__)
        # Marked in each case, so that a recipient nobody serves does not crowd out the others.
        with self._store.begin() as tx:
            tx.deliveries.published(deliveries, now)

    def _wake_translation(self) -> None:
        with self._store.begin(write=False) as tx:
            waiting = any(line.waiting for line in tx.feed_queues())
        if waiting:
            self._broker.nudge("translate")

    def _publish_again(self, recipient: Recipient, now: datetime) -> None:
        with self._store.begin() as tx:
            if given_up := tx.outbox.prune(recipient.id, now - recipient.keep):
                tx.audit.write(
                    [AuditEvent(now, EXPIRED, recipient.id, f"recipient/{recipient.id}", f"{given_up} events")]
                )
            oldest = tx.outbox.unreceipted(recipient.id, now - self._settings.receipt_after, 1)
        if not oldest:
            return
        # What still waits in the queue has its receipt ahead: only an empty queue has lost it.
        busy = self._broker.depths().get(f"recipient.{recipient.id}", 0) > 0
        age = self._settings.receipt_after_busy if busy else self._settings.receipt_after
        lost = self._still_due(recipient, now - age, now)
        events = [Event(each.routing_key, each.body, each.message_id, headers(each.routing_key, each.message_id))
                  for each in lost]  # fmt: skip
        results = self._broker.publish(events) if events else []
        again = [event.message_id for event, error in zip(events, results, strict=True) if error is None]
        if again:
            with self._store.begin() as tx:
                tx.outbox.republished(again, now)
            log.info("events without a receipt were published again", recipient=recipient.id, events=len(again))

    def _still_due(self, recipient: Recipient, older_than: datetime, now: datetime) -> list[Unreceipted]:
        """Return what may be published again; what no longer may leave is forgotten, and that is audited."""
        with self._store.begin() as tx:
            found = tx.outbox.unreceipted(recipient.id, older_than, self._settings.batch)
            due = [each for each in found if self._may_leave(tx, each, now)]
            for each in found:
                if each not in due:
                    tx.outbox.receipt(recipient.id, each.message_id)
                    subject = f"delivery/{each.delivery}"
                    tx.audit.write([AuditEvent(now, "withheld", recipient.id, subject, "an event not yet received")])
        return due
