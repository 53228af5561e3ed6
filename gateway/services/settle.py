"""What an attempt's outcome means for the cursor and for the recipient's circuit (ARCHITECTURE, decision 10). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from gateway.model.delivery import Accepted, Deferred, Delivery, DeliveryState, Outcome, Refused, Unknown
from gateway.model.recipient import Retry
from gateway.ports import Breaker
from gateway.services.waiting import growing, wait_before

FAILURES_TO_OPEN: Final = 5
"""Connect failures in a row after which nobody tries for a while."""

LONGEST_ASKED: Final = timedelta(days=1)
"""The longest Retry-After that is honoured."""


def settle(delivery: Delivery, outcome: Outcome, now: datetime, retry: Retry, upto: int) -> Delivery:
    """Return the cursor as it stands after an attempt at the changes up to ``upto``.

    =============  ==================================================================================================
    ``Accepted``   what was sent is settled; due again at once where more is planned; the next attempt has a new id
    ``Refused``    ``dead``: a person must look; the next attempt has a new id
    ``Deferred``   due again later; nothing happened, so the window is as free as it was before
    ``Unknown``    due again later with the same window and delivery id
    =============  ==================================================================================================

    After ``retry.give_up`` since the first failure it is ``dead``.
    """
    if isinstance(outcome, Accepted):
        return accepted(delivery, now, upto)
    failed = replace(
        delivery,
        attempts=delivery.attempts + 1,
        first_failed_at=delivery.first_failed_at or now,
        lease_until=None,
        detail=outcome.detail,
    )
    if isinstance(outcome, Refused):
        return replace(failed, state=DeliveryState.DEAD, due_at=None, window=None, number=delivery.number + 1)
    if isinstance(outcome, Unknown):
        failed = replace(failed, window=upto)
    if now - (failed.first_failed_at or now) >= retry.give_up:
        return replace(failed, state=DeliveryState.DEAD, due_at=None)
    return replace(failed, state=DeliveryState.DUE, due_at=now + _wait(outcome, retry, failed.attempts))


def accepted(delivery: Delivery, now: datetime, upto: int) -> Delivery:
    """Return the cursor once everything up to ``upto`` is settled."""
    more = delivery.planned > upto
    return replace(
        delivery,
        state=DeliveryState.DUE if more else DeliveryState.IDLE,
        sent=max(delivery.sent, upto),
        window=None,
        number=delivery.number + 1,
        attempts=0,
        due_at=now if more else None,
        first_failed_at=None,
        lease_until=None,
        detail="",
    )


def as_asked(wait: timedelta, retry: Retry) -> timedelta:
    """Return how long is waited for a server that asks for it: some time, whatever it says."""
    return max(retry.first, min(wait, LONGEST_ASKED))


def _wait(outcome: Deferred | Unknown, retry: Retry, failures: int) -> timedelta:
    if isinstance(outcome, Deferred) and outcome.wait is not None:
        return as_asked(outcome.wait, retry)
    return wait_before(growing(retry.first, retry.longest), failures)


def breaker_after(breaker: Breaker, outcome: Outcome, now: datetime, retry: Retry) -> Breaker:
    """Return the recipient's circuit after an attempt.

    An answer about the content closes it. What concerns every delivery opens it, longer each time: a wrong address,
    wrong credentials, TLS (``Deferred.breaker``), Retry-After, or connect failures in a row. ``open_until`` in the
    past means half open: the next delivery tries for all.
    """
    if isinstance(outcome, Accepted | Refused):
        return Breaker(breaker.recipient)
    if isinstance(outcome, Unknown):
        return breaker if breaker.open_until is None else _open(breaker, breaker.failures, outcome.detail, now, retry)
    if outcome.wait is not None and not outcome.breaker:
        return replace(breaker, open_until=now + as_asked(outcome.wait, retry), reason=outcome.detail)
    failures = breaker.failures + 1
    if outcome.breaker or failures >= FAILURES_TO_OPEN or breaker.open_until is not None:
        return _open(breaker, failures, outcome.detail, now, retry)
    return replace(breaker, failures=failures, reason=outcome.detail)


def _open(breaker: Breaker, failures: int, reason: str, now: datetime, retry: Retry) -> Breaker:
    wait = wait_before(growing(retry.first, retry.longest), failures)
    return replace(breaker, failures=failures, open_until=now + wait, reason=reason)
