"""Telling the endpoints of subscriptions: claim, decide what happened, note it, send, settle.

The rules are those of deliveries (ARCHITECTURE, decisions 9 and 10): rows say what is owed, no transaction is open
while the network is used, each attempt has one of four outcomes. An event has its number before it is sent: a crash
after that repeats it under the same number.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from gateway.errors import StoreError
from gateway.fhir.subscriptions import notification
from gateway.model.client import Client
from gateway.model.delivery import Accepted, Deferred, Outcome, Refused, Unknown, outcome_name
from gateway.model.recipient import Retry
from gateway.model.subscription import (
    REVOKED,
    Happening,
    Notification,
    NotificationType,
    Subscription,
    SubscriptionState,
)
from gateway.ports import Answer, AuditEvent, Clock, Hook, Shown, Store, Telling, Transaction
from gateway.services.defect import words_of
from gateway.services.happenings import caller_of, happened, packed
from gateway.services.pull import Pull, Sight
from gateway.services.settle import as_asked
from gateway.services.waiting import growing, wait_before

log = structlog.get_logger()

MOST_TRIGGERS: Final = 200
"""Triggers decided on at a time."""

INTERACTION: Final = "notification"
"""What an answer is called in the list of what was disclosed, when nobody asked for it."""

SENT: Final = 202
"""Its status there: it was sent. Whether it arrived, the audit trail says."""

ENDED: Final = "its end has come"
ABANDONED: Final = "it has been in error for too long"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for an endpoint. ``handshake``: until it is in error without ever having been active.

    ``abandon``: it is switched off after being in error for so long. ``lease`` is longer than any attempt.
    """

    retry: Retry = field(default_factory=lambda: Retry(longest=timedelta(minutes=30), give_up=timedelta(days=1)))
    handshake: Retry = field(default_factory=lambda: Retry(longest=timedelta(minutes=1), give_up=timedelta(minutes=10)))
    abandon: timedelta = timedelta(days=7)
    lease: timedelta = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Begun:
    """A claimed subscription, and what is to be sent for it. ``kind`` None: nothing. ``upto``: the last event sent."""

    subscription: Subscription
    telling: Telling
    kind: NotificationType | None = None
    upto: int = 0
    body: bytes = b""
    shown: tuple[Shown, ...] = ()

    @property
    def key(self) -> str:
        """What a receiver can drop repeats by."""
        stands = self.subscription
        if self.kind == "event-notification":
            return f"{stands.id}/{stands.settled + 1}-{self.upto}"
        if self.kind == "heartbeat":
            return f"{stands.id}/heartbeat/{stands.told_at:%Y%m%dT%H%M%S%fZ}"
        return f"{stands.id}/{self.kind}/{stands.version}-{stands.events}"


class Notify:
    """Makes attempts. Safe from any thread; ``owner`` names this process in leases."""

    def __init__(
        self, store: Store, sight: Sight, hook: Hook, clock: Clock, owner: str, *, patience: Patience | None = None
    ) -> None:
        self._store = store
        self._sight = sight
        self._hook = hook
        self._clock = clock
        self._owner = owner
        self._patience = patience or Patience()

    def claim(self, without: Collection[str] = ()) -> Subscription | None:
        """Claim a subscription for which something is to be done, of none of these clients.

        Raises ``StoreUnavailable``.
        """
        now = self._clock()
        with self._store.begin(write=False) as tx:
            if not tx.subscriptions.is_due(now):
                return None
        with self._store.begin() as tx:
            return tx.subscriptions.claim(now, self._owner, self._patience.lease, without)

    def attend(self, claimed: Subscription) -> Subscription | None:
        """Do what is to be done for a claimed subscription; return it as it stands then.

        None when the lease was lost. A crash in here is noticed when the lease runs out: what may have arrived is then
        repeated under the same numbers. Raises ``StoreUnavailable``.
        """
        begun = _insisting()(self._begin, claimed)
        if begun is None:
            return None
        outcome = None
        if begun.kind is not None:
            outcome = self._send(begun)
        return _insisting()(self._settle, begun, outcome)

    # --- before -----------------------------------------------------------------------------------------------------

    def _begin(self, claimed: Subscription) -> Begun | None:
        now = self._clock()
        with self._store.begin(write=False) as tx:
            begun = self._decided(tx, claimed, now)
        with self._store.begin() as tx:
            if not tx.subscriptions.begin(begun.subscription, begun.telling, self._owner):
                log.warning("the lease was lost before anything was sent", subscription=claimed.id)
                return None
            if begun.shown:
                tx.answers.add([_answer(begun, now)])
        return begun

    def _decided(self, tx: Transaction, claimed: Subscription, now: datetime) -> Begun:
        client = tx.clients.get(claimed.client)
        if client is None or client.revoked_at is not None:
            return Begun(_off(claimed, REVOKED), Telling())
        if claimed.terms.ends_at is not None and claimed.terms.ends_at <= now:
            return Begun(_off(claimed, ENDED), Telling())
        if claimed.state is SubscriptionState.ERROR and claimed.due_at is not None and claimed.due_at <= now:
            return Begun(_off(claimed, ABANDONED), Telling())
        triggers = tx.subscriptions.triggers(claimed.id, now, MOST_TRIGGERS)
        pull = Pull(tx, self._sight, caller_of(client, claimed), now, "R4")
        new = happened(pull, claimed, triggers) if triggers else []
        telling = Telling(new, [one.id for one in triggers])
        stands = claimed.but(events=claimed.events + len(new))
        kind = kind_due(stands, now)
        if kind == "event-notification":
            return self._packed(tx, stands, telling, client, now)
        if kind is None:
            return Begun(stands, telling)
        body = notification(stands, kind, stands.terms.release, now)
        return Begun(stands.but(due_at=now), telling, kind, body=body)

    def _packed(self, tx: Transaction, stands: Subscription, telling: Telling, client: Client, now: datetime) -> Begun:
        upto = stands.sending or min(stands.events, stands.settled + stands.terms.max_count)
        owed = tx.subscriptions.events(stands.id, stands.settled, upto, upto - stands.settled)
        events: list[Happening] = [*owed, *(one for one in telling.happened if one.number <= upto)]
        pull = Pull(tx, self._sight, caller_of(client, stands), now, stands.terms.release)
        made = packed(pull, stands, events)
        content = stands.terms.content
        sent = stands.but(events=upto)  # as many as its receiver knows of, once it has these
        body = notification(sent, "event-notification", stands.terms.release, now, made.events, content=content)
        shown = made.shown if content != "empty" else ()
        # Due, so that it is looked at once the lease has run out, should nobody say what became of it.
        return Begun(stands.but(sending=upto, due_at=now), telling, "event-notification", upto, body, shown)

    # --- the attempt ------------------------------------------------------------------------------------------------

    def _send(self, begun: Begun) -> Outcome:
        terms = begun.subscription.terms
        what = Notification(terms.endpoint, begun.body, begun.key, terms.secret, terms.headers, float(terms.timeout))
        try:
            return self._hook.notify(what)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may have been told
            # Not with the traceback: its words may be a credential.
            log.error("the way to an endpoint failed", subscription=begun.subscription.id, error=words_of(error))  # noqa: TRY400
            return Unknown(f"the way to the endpoint failed: {type(error).__name__}")

    # --- after ------------------------------------------------------------------------------------------------------

    def _settle(self, begun: Begun, outcome: Outcome | None) -> Subscription | None:
        now = self._clock()
        before = begun.subscription
        stands = after(begun, outcome, now, self._patience)
        with self._store.begin() as tx:
            written = tx.subscriptions.settle(stands, self._owner)
            tx.audit.write(self._lines(begun, outcome, written or stands, now))
        if outcome is not None:
            tell = log.info if isinstance(outcome, Accepted) else log.warning
            name = outcome_name(outcome)
            tell("endpoint told", subscription=before.id, kind=begun.kind, outcome=name, detail=outcome.detail)
        return written

    def _lines(self, begun: Begun, outcome: Outcome | None, stands: Subscription, now: datetime) -> list[AuditEvent]:
        subject = f"subscription/{stands.id}"
        lines = []
        if outcome is not None and not (begun.kind == "heartbeat" and isinstance(outcome, Accepted)):
            named = f"{begun.kind} {begun.key.partition('/')[2]} to client {stands.client}"
            detail = f"{named}: {outcome.detail}".rstrip(": ")
            lines.append(AuditEvent(now, f"notification-{outcome_name(outcome)}", self._owner, subject, detail))
        ours = stands.version == begun.subscription.version  # else its client, or an operator, has said it already
        if ours and stands.state is not _state_at_claim(begun):
            lines.append(AuditEvent(now, f"subscription-{stands.state}", self._owner, subject, stands.detail))
        return lines


def _state_at_claim(begun: Begun) -> SubscriptionState:
    """Return the state before it was switched off in the beginning."""
    stands = begun.subscription
    return SubscriptionState.ACTIVE if stands.state is SubscriptionState.OFF else stands.state


def _answer(begun: Begun, now: datetime) -> Answer:
    stands = begun.subscription
    request = f"POST {begun.key}"
    return Answer(now, stands.client, INTERACTION, "Subscription", SENT, request, begun.shown)


def _off(subscription: Subscription, why: str) -> Subscription:
    return subscription.but(state=SubscriptionState.OFF, due_at=None, detail=why)


def _insisting() -> Retrying:
    """Return the tries at a transaction between claim and end: unsaid, it would be known when the lease runs out."""
    wait = wait_random_exponential(multiplier=0.1, max=2)
    return Retrying(retry=retry_if_exception_type(StoreError), stop=stop_after_attempt(5), wait=wait, reraise=True)


# --- what is due, and what an attempt means (pure) --------------------------------------------------------------------


def kind_due(stands: Subscription, now: datetime) -> NotificationType | None:
    """Return what is to be sent now; None: nothing, it waits or is in error."""
    due = stands.due_at is not None and stands.due_at <= now
    if stands.state is SubscriptionState.REQUESTED:
        return "handshake" if due else None
    if stands.state is not SubscriptionState.ACTIVE or (stands.failures and not due):
        return None
    if stands.events > stands.settled:
        return "event-notification"
    return "heartbeat" if due and _heartbeat_at(stands, now) <= now else None


def after(begun: Begun, outcome: Outcome | None, now: datetime, patience: Patience) -> Subscription:
    """Return a subscription as it stands after an attempt.

    =============  ===================================================================================================
    ``Accepted``   what was sent is settled; a handshake makes it active
    ``Refused``    in error: its client must look
    ``Deferred``   tried again later, when it was asked for, though never at once
    ``Unknown``    tried again later
    =============  ===================================================================================================

    What is tried again are the same events, under the same key. A handshake that is refused for good (wrong address,
    credentials, TLS), and anything that has failed for ``give_up``, is in error; events go on being numbered then, and
    wait.
    """
    stands = begun.subscription
    if outcome is None:
        waits = stands.failures or stands.state is not SubscriptionState.ACTIVE
        return stands if waits else stands.but(due_at=_next(stands, now))
    if isinstance(outcome, Accepted):
        settled = max(stands.settled, begun.upto)
        done = stands.but(settled=settled, sending=None, failures=0, failed_at=None, told_at=now, detail="")
        done = done.but(state=SubscriptionState.ACTIVE)
        return done.but(due_at=_next(done, now))
    return _failed(begun, outcome, now, patience)


def _failed(begun: Begun, outcome: Refused | Deferred | Unknown, now: datetime, patience: Patience) -> Subscription:
    stands = begun.subscription
    retry = patience.handshake if begun.kind == "handshake" else patience.retry
    since = stands.failed_at or now
    failed = stands.but(failures=stands.failures + 1, failed_at=since, detail=outcome.detail)
    final = isinstance(outcome, Refused) or now - since >= retry.give_up
    final = final or (begun.kind == "handshake" and isinstance(outcome, Deferred) and outcome.breaker)
    if final:
        return failed.but(state=SubscriptionState.ERROR, due_at=now + patience.abandon)
    if isinstance(outcome, Deferred) and outcome.wait is not None:
        return failed.but(due_at=now + as_asked(outcome.wait, retry))
    return failed.but(due_at=now + wait_before(growing(retry.first, retry.longest), failed.failures))


def _next(stands: Subscription, now: datetime) -> datetime | None:
    """Return when an active one is to be looked at though nothing happens."""
    if stands.events > stands.settled:
        return now
    moments = [_heartbeat_at(stands, now)] if stands.terms.heartbeat else []
    moments += [stands.terms.ends_at] if stands.terms.ends_at else []
    return min(moments, default=None)


def _heartbeat_at(stands: Subscription, now: datetime) -> datetime:
    """Return when a heartbeat is due: a while after whatever was sent last."""
    if not stands.terms.heartbeat:
        return datetime.max.replace(tzinfo=now.tzinfo)
    return (stands.told_at or now) + timedelta(seconds=stands.terms.heartbeat)
