"""One attempt at a delivery: claim, pack what may leave now, send, settle (ARCHITECTURE, decisions 9 and 10).

No transaction is open while the network is used. What is about to be sent is noted first, so that a crash in between
leaves an attempt that *may* have arrived, and a later withdrawal knows what to take back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from gateway.errors import GatewayError, StaleClaim, StoreError
from gateway.model.delivery import (
    BACKFILL,
    Accepted,
    Attempt,
    ChangeKind,
    Deferred,
    Delivery,
    ManifestEntry,
    Outcome,
    Package,
    Packed,
    Unknown,
    outcome_name,
)
from gateway.model.recipient import Recipient
from gateway.ports import AuditEvent, Breaker, Broker, Clock, Packager, RecipientAdapter, Store, Transaction
from gateway.services.defect import words_of
from gateway.services.settle import accepted, breaker_after, settle

log = structlog.get_logger()

ROUNDS: Final = 50
"""Attempts a worker makes at one cursor before it takes the next wake-up."""

LOOK_AGAIN: Final = timedelta(hours=1)
"""How long a cursor at most waits for the moment from which more may leave."""

Observe = Callable[[str, str, float], None]
"""Called after each attempt with recipient, outcome (``accepted`` …) and seconds."""


def unobserved(recipient: str, outcome: str, seconds: float) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Makes attempts. Safe from any thread.

    ``owner`` names this process in leases: keep it the same across restarts and call ``deliveries.expire(now, owner)``
    at the start, and what was interrupted is due at once. ``lease`` must be longer than any attempt.
    """

    store: Store
    recipients: Mapping[str, Recipient]
    adapters: Mapping[str, RecipientAdapter]
    packager: Packager
    clock: Clock
    owner: str
    lease: timedelta = timedelta(minutes=5)
    observe: Observe = unobserved

    def __call__(self, delivery_id: int) -> Delivery | None:
        """Make one attempt and return the cursor as it stands then.

        None when there was nothing to do: settled, claimed by another, not yet due, the circuit is open, or the
        recipient is not configured. Safe to call again. A crash in here leaves the cursor ``sending``; when the lease
        runs out, it is settled as unknown. Raises ``StoreUnavailable``.
        """
        delivery = self._claim(delivery_id)
        if delivery is None:
            return None
        started = self.clock()
        try:
            packed = self.packager.package(delivery, started)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (the cursor must not stay claimed; its detail says where)
            words = str(error) if isinstance(error, GatewayError) else words_of(error)
            broken = Deferred(f"could not be packed: {words}")
            return self._settle(delivery, broken, Packed(None, delivery.sent), started)
        if packed.package is None or not packed.package.entries:
            return self._pass_over(delivery, packed)
        delivery, package = self._note(delivery, packed, packed.package, started)
        outcome = self._send(package)
        return self._settle(delivery, outcome, packed, started)

    def _claim(self, delivery_id: int) -> Delivery | None:
        now = self.clock()
        with self.store.begin() as tx:
            found = tx.deliveries.get(delivery_id)
            if found is None or found.view.recipient not in self.adapters:
                return None
            breaker = tx.breakers.get(found.view.recipient)
            if breaker.open_until is not None and breaker.open_until > now:
                return None
            delivery = tx.deliveries.claim(delivery_id, self.owner, now, self.lease)
            if delivery is not None and breaker.open_until is not None:
                # Half open: the others wait for what becomes of this one.
                tx.breakers.set(replace(breaker, open_until=now + self.lease))
            return delivery

    def _pass_over(self, delivery: Delivery, packed: Packed) -> Delivery:
        """Move the cursor over changes of which nothing may leave."""
        now = self.clock()
        settled = accepted(delivery, now, packed.upto)
        with self.store.begin() as tx:
            tx.deliveries.save(settled, None, self.owner)
            _look_again(tx, delivery, packed, now)
            tx.audit.write(_withheld(delivery, packed, now))
            self._end_half_open(tx, delivery.view.recipient, now)
            return tx.deliveries.get(delivery.id) or settled

    def _end_half_open(self, tx: Transaction, recipient: str, now: datetime) -> None:
        """Let another delivery try for all: this one sent nothing."""
        breaker = tx.breakers.get(recipient)
        if breaker.open_until is not None:
            tx.breakers.set(replace(breaker, open_until=now))

    def _note(
        self, delivery: Delivery, packed: Packed, package: Package, started: datetime
    ) -> tuple[Delivery, Package]:
        """Write down what is about to be sent, as an attempt that may arrive."""
        with self.store.begin() as tx:
            if delivery.window is not None and not _same_again(tx, delivery, packed):
                # A delivery id promises the same content: what is to be sent has changed since, so it gets another.
                delivery = replace(delivery, number=delivery.number + 1)
            noted = replace(delivery, window=packed.upto)
            attempt = _attempt(delivery, Unknown("under way"), packed, started, started)
            tx.deliveries.save(noted, attempt, self.owner)
        return delivery, replace(package, delivery_id=delivery.delivery_id)

    def _send(self, package: Package) -> Outcome:
        recipient = package.view.recipient
        began = time.perf_counter()
        try:
            outcome = self.adapters[recipient].deliver(package)
        except Exception as error:
            log.exception("the adapter failed", delivery=package.delivery_id, recipient=recipient)
            outcome = Unknown(f"the adapter failed: {type(error).__name__}")
        self.observe(recipient, outcome_name(outcome), time.perf_counter() - began)
        return outcome

    def _settle(self, delivery: Delivery, outcome: Outcome, packed: Packed, started: datetime) -> Delivery:
        now = self.clock()
        recipient = self.recipients[delivery.view.recipient]
        settled = settle(delivery, outcome, now, recipient.retry, packed.upto)
        attempt = _attempt(delivery, outcome, packed, started, now)
        before = after = Breaker(recipient.id)
        stands = settled
        try:
            for again in _insisting():
                with again, self.store.begin() as tx:
                    tx.deliveries.save(settled, attempt, self.owner)
                    self._record(tx, delivery, outcome, packed, now)
                    before, after = self._breaker(tx, recipient, outcome, now, sent=packed.package is not None)
                    stands = tx.deliveries.get(delivery.id) or settled  # more may have been planned meanwhile
        except StaleClaim:
            log.warning("the lease was lost before the attempt was settled", delivery=delivery.delivery_id)
            return delivery
        _tell(delivery, stands, outcome, packed)
        _tell_breaker(before, after)
        return stands

    def _record(self, tx: Transaction, delivery: Delivery, outcome: Outcome, packed: Packed, now: datetime) -> None:
        entries = packed.package.entries if packed.package else ()
        detail = f"{delivery.delivery_id} to {delivery.view.recipient}, {len(entries)} entries: {outcome.detail}"
        action = f"delivery-{outcome_name(outcome)}"
        tx.audit.write([AuditEvent(now, action, self.owner, f"delivery/{delivery.id}", detail.rstrip(": "))])
        tx.audit.write(_withheld(delivery, packed, now))
        if isinstance(outcome, Accepted):
            _look_again(tx, delivery, packed, now)
            refused = {each.reference: each.detail for each in outcome.refused}
            took = {e.resource: e.change for e in entries if e.shared and e.reference not in refused}
            tx.deliveries.hold_shared(delivery.view, took)
            names = {e.reference: f"{e.type}/{e.resource}" for e in entries}
            tx.deliveries.refuse_entries(delivery.id, [(names[ref], why) for ref, why in refused.items()], now)

    def _breaker(
        self, tx: Transaction, recipient: Recipient, outcome: Outcome, now: datetime, *, sent: bool
    ) -> tuple[Breaker, Breaker]:
        before = tx.breakers.get(recipient.id)
        if not sent:
            self._end_half_open(tx, recipient.id, now)
            return before, before
        after = breaker_after(before, outcome, now, recipient.retry)
        if after != before:
            tx.breakers.set(after)
        return before, after


def _insisting() -> Retrying:
    """Return the tries at noting what came of an attempt: unsaid, it would be known when the lease runs out."""
    troubled = retry_if_exception(lambda error: isinstance(error, StoreError) and not isinstance(error, StaleClaim))
    wait = wait_random_exponential(multiplier=0.1, max=2)
    return Retrying(retry=troubled, stop=stop_after_attempt(5), wait=wait, reraise=True)


def _look_again(tx: Transaction, delivery: Delivery, packed: Packed, now: datetime) -> None:
    """Begin again when more may leave then; sooner, should the moment be far: it may be a slip of somebody's pen."""
    if packed.again_at is not None and not packed.more:
        tx.deliveries.replay(delivery.id, min(packed.again_at, now + LOOK_AGAIN), from_change=BACKFILL)


def _same_again(tx: Transaction, delivery: Delivery, packed: Packed) -> bool:
    """Whether a repeat carries what the attempts under its id carried."""
    earlier = [one for one in tx.deliveries.attempts(delivery.id, 20) if one.number == delivery.number]
    return all(_content(one.manifest) == _content(packed.manifest) for one in earlier if one.outcome == "unknown")


def _content(manifest: tuple[ManifestEntry, ...]) -> list[tuple[str, int, bool]]:
    return sorted((e.resource, e.version, e.kind is ChangeKind.RETRACTED) for e in manifest)


def _attempt(delivery: Delivery, outcome: Outcome, packed: Packed, started: datetime, settled: datetime) -> Attempt:
    manifest = packed.manifest
    if isinstance(outcome, Accepted) and outcome.refused and packed.package:
        refused = {each.reference for each in outcome.refused}
        pairs = zip(packed.package.entries, manifest, strict=True)
        manifest = tuple(line for entry, line in pairs if entry.reference not in refused)
    name = outcome_name(outcome)
    done = (name, outcome.detail, packed.upto, manifest, packed.grounds)
    return Attempt(delivery.id, delivery.number, started, settled, *done)


def _withheld(delivery: Delivery, packed: Packed, now: datetime) -> list[AuditEvent]:
    if not packed.withheld:
        return []
    detail = ", ".join(f"{rule}: {count}" for rule, count in sorted(packed.withheld.items()))
    return [AuditEvent(now, "withheld", delivery.view.recipient, f"delivery/{delivery.id}", detail)]


def _tell(delivery: Delivery, settled: Delivery, outcome: Outcome, packed: Packed) -> None:
    """Log one attempt, with the ids of the messages it carried the word of."""
    entries = packed.package.entries if packed.package else ()
    tell = log.info if isinstance(outcome, Accepted) else log.warning
    tell(
        "delivery attempted",
        delivery=delivery.delivery_id,
        recipient=delivery.view.recipient,
        messages=sorted({entry.message for entry in entries if entry.message}),
        outcome=outcome_name(outcome),
        detail=outcome.detail,
        state=str(settled.state),
    )


def _tell_breaker(before: Breaker, after: Breaker) -> None:
    if after.open_until is not None and before.open_until is None:
        log.error("the recipient takes no deliveries", recipient=after.recipient, reason=after.reason)
    elif after.open_until is None and before.open_until is not None:
        log.info("the recipient takes deliveries again", recipient=after.recipient)


@dataclass(frozen=True, slots=True)
class DeliveryWorker:
    """Consumes the wake-ups of one recipient with some threads of its own: a slow recipient stops nobody else."""

    recipient: str
    deliver: Deliver
    broker: Broker
    threads: int = 2

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until ``stop()``; what is under way is finished first."""
        workers = [
            threading.Thread(target=self._consume, args=(stop,), name=f"deliver-{self.recipient}-{number}")
            for number in range(self.threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def handle(self, body: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Make the attempts one wake-up asks for: until the cursor owes nothing more now, or ``stop()``."""
        for _ in range(ROUNDS):
            settled = self.deliver(int(body))
            if settled is None or settled.attempts or settled.due_at is None or stop():
                return

    def _consume(self, stop: Callable[[], bool]) -> None:
        self.broker.consume(f"deliver.{self.recipient}", lambda body: self.handle(body, stop), stop, prefetch=4)
