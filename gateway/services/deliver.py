"""Attempts at deliveries, in groups: claim, pack what may leave now, send, settle (ARCHITECTURE, decisions 9 and 10).

No transaction is open while the network is used. What is about to be sent is noted first, so that a crash in between
leaves an attempt that *may* have arrived, and a later withdrawal knows what to take back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from gateway.errors import GatewayError, StoreError
from gateway.model.delivery import BACKFILL, Deferred, Delivery, Outcome, Package, Packed, Unknown, View, outcome_name
from gateway.model.recipient import Recipient
from gateway.ports import Breaker, Clock, GroupAdapter, Packager, RecipientAdapter, Store, Transaction
from gateway.services.attempt import Begun, Ended, tell_circuit
from gateway.services.defect import words_of

log = structlog.get_logger()

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
        with self.store.begin(write=False) as tx:
            found = tx.deliveries.get(delivery_id)
        if found is None or found.view.recipient not in self.adapters:
            return None
        begun, stands = self.begin(found.view.recipient, [delivery_id])
        if begun:
            stands = self.finish(self.send(begun))
        return stands[0] if stands else None

    def begin(
        self, recipient: str, ids: Sequence[int], before: Sequence[Ended] = ()
    ) -> tuple[list[Begun], list[Delivery]]:
        """Claim those of a recipient's deliveries that are due, pack them and note what is about to be sent.

        Attempts that have ended ``before`` are settled with that, as by ``finish``. Returns what is to be sent, and
        the cursors that are settled: those, and of which nothing may leave. While the circuit is half open, one is
        claimed and tries for all. Raises ``StoreUnavailable``.
        """
        now = self.clock()
        claimed, probe = self._claim(recipient, ids, now)
        begun: list[Begun] = []
        ended = list(before)
        for delivery, packed in zip(claimed, self._pack(claimed, now), strict=True):
            if isinstance(packed, Exception):
                words = str(packed) if isinstance(packed, GatewayError) else words_of(packed)
                nothing = Begun(delivery, Packed(None, delivery.sent), (), now, probe)
                ended.append(Ended(nothing, Deferred(f"could not be packed: {words}")))
                continue
            one = Begun(delivery, packed, packed.manifest, now, probe)
            if one.package is None:
                ended.append(Ended(one, None))
            else:
                begun.append(one)
        return self._write(begun, ended) if begun or ended else ([], [])

    def send(self, begun: Sequence[Begun]) -> list[Ended]:
        """Make the attempts of one recipient and return how they ended."""
        packages = [(one, package) for one in begun if (package := one.package) is not None]
        adapter = self.adapters[begun[0].delivery.view.recipient]
        began = time.perf_counter()
        if len(packages) > 1 and isinstance(adapter, GroupAdapter):
            try:
                outcomes = adapter.deliver_many([package for _, package in packages])
            except Exception:
                log.exception("the adapter failed with a group", recipient=begun[0].delivery.view.recipient)
                return [ended for one in begun for ended in self.send([one])]
        else:
            outcomes = [_outcome(adapter, package) for _, package in packages]
        seconds = (time.perf_counter() - began) / max(len(packages), 1)
        for (_, package), outcome in zip(packages, outcomes, strict=True):
            self.observe(package.view.recipient, outcome_name(outcome), seconds)
        return [Ended(one, outcome) for (one, _), outcome in zip(packages, outcomes, strict=True)]

    def finish(self, ended: Sequence[Ended]) -> list[Delivery]:
        """Settle attempts in one transaction and return the cursors as they stand then.

        One whose lease was lost meanwhile is left out. Cursors that are due again at once count as woken: the caller
        wakes them. Raises ``StoreUnavailable`` when the store stays away; the leases tell then.
        """
        _, stands = self._write([], ended)
        return stands

    def sends_together(self, recipient: str) -> bool:
        """Whether a recipient takes a group of packages in one go."""
        return isinstance(self.adapters[recipient], GroupAdapter)

    def _claim(self, recipient: str, ids: Sequence[int], now: datetime) -> tuple[list[Delivery], bool]:
        with self.store.begin() as tx:
            breaker = tx.breakers.get(recipient)
            if breaker.open_until is None:
                return tx.deliveries.claim_many(ids, self.owner, now, self.lease), False
            if breaker.open_until > now:
                return [], False
            for id in ids:
                claimed = tx.deliveries.claim_many([id], self.owner, now, self.lease)
                if claimed:  # the others wait for what becomes of this one
                    tx.breakers.set(replace(breaker, open_until=now + self.lease))
                    return claimed, True
            return [], False

    def _pack(self, claimed: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        """Pack cursors; whatever goes wrong, they must not stay claimed."""
        try:
            return _insisting()(self.packager.package_many, claimed, now) if claimed else []
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (it stands in the place of each, and its words say where)
            return [error] * len(claimed)

    def _write(self, begun: Sequence[Begun], ended: Sequence[Ended]) -> tuple[list[Begun], list[Delivery]]:
        """Note in one transaction what is about to be sent, and settle what has ended."""
        return _insisting()(self._write_once, begun, ended)

    def _write_once(self, begun: Sequence[Begun], ended: Sequence[Ended]) -> tuple[list[Begun], list[Delivery]]:
        now = self.clock()
        with self.store.begin() as tx:
            noted = [one if _same_again(tx, one) else one.renumbered() for one in begun]
            saves = [each.saved(now, self._of(each).retry) for each in ended] + [one.noted() for one in noted]
            stands = tx.deliveries.save_many(saves, self.owner, now)
            kept = [each for each in ended if each.id in stands]
            tx.audit.write([line for each in kept for line in each.lines(now, self.owner)])
            _record(tx, kept, now)
            stands |= _look_again(tx, kept, now)
            circuits = self._circuits(tx, kept, now)
        for each in ended:
            if each.id in stands:
                each.tell(stands[each.id])
            else:
                log.warning(
                    "the lease was lost before the attempt was settled", delivery=each.begun.delivery.delivery_id
                )
        for before, after in circuits:
            tell_circuit(before, after)
        return [one for one in noted if one.delivery.id in stands], [stands[each.id] for each in kept]

    def _of(self, ended: Ended) -> Recipient:
        return self.recipients[ended.view.recipient]

    def _circuits(self, tx: Transaction, ended: Sequence[Ended], now: datetime) -> list[tuple[Breaker, Breaker]]:
        """Write what the attempts say about the recipients' circuits; return each before and after."""
        changed = []
        for recipient in sorted({each.view.recipient for each in ended}):
            before = after = tx.breakers.get(recipient)
            for each in ended:
                if each.view.recipient == recipient:
                    after = each.circuit_after(after, now, self._of(each).retry)
            if after != before:
                tx.breakers.set(after)
                changed.append((before, after))
        return changed


def _insisting() -> Retrying:
    """Return the tries at a transaction between claim and end: unsaid, it would be known when the lease runs out."""
    wait = wait_random_exponential(multiplier=0.1, max=2)
    return Retrying(retry=retry_if_exception_type(StoreError), stop=stop_after_attempt(5), wait=wait, reraise=True)


def _outcome(adapter: RecipientAdapter, package: Package) -> Outcome:
    try:
        return adapter.deliver(package)
    except Exception as error:
        log.exception("the adapter failed", delivery=package.delivery_id, recipient=package.view.recipient)
        return Unknown(f"the adapter failed: {type(error).__name__}")


def _same_again(tx: Transaction, begun: Begun) -> bool:
    """Whether a repeat carries what the attempts under its id carried."""
    return begun.delivery.window is None or begun.same_as(tx.deliveries.attempts(begun.delivery.id, 20))


def _record(tx: Transaction, ended: Sequence[Ended], now: datetime) -> None:
    """Note the shared resources that the views hold now, and the entries that were refused."""
    held: dict[View, dict[str, int]] = {}
    for each in ended:
        for resource, change in each.shared.items():
            of_view = held.setdefault(each.view, {})
            of_view[resource] = max(change, of_view.get(resource, change))
        tx.deliveries.refuse_entries(each.id, each.refused_resources, now)
    for view in sorted(held, key=lambda one: (one.recipient, one.study)):
        tx.deliveries.hold_shared(view, held[view])


def _look_again(tx: Transaction, ended: Sequence[Ended], now: datetime) -> dict[int, Delivery]:
    """Begin again when more may leave then; sooner, should the moment be far: it may be a slip of somebody's pen."""
    stands = {}
    for each in ended:
        packed = each.begun.packed
        if each.settles and packed.again_at is not None and not packed.more:
            tx.deliveries.replay(each.id, min(packed.again_at, now + LOOK_AGAIN), from_change=BACKFILL)
            found = tx.deliveries.get(each.id)
            if found is not None:
                stands[each.id] = found
    return stands
