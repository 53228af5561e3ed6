"""Telling people of trouble: once when it begins, once when it has ended, and no more often than that.

One process at a time looks (a lease), every half minute. A trouble is told of when two looks in a row have found it,
and its end when it has stayed away for ``settle``: what comes and goes is one trouble. What cannot be told is told
later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.errors import NotTold
from gateway.model.alert import Alert, Trouble
from gateway.ports import AuditEvent, Channel, Clock, Store, Transaction

log = structlog.get_logger()

LEASE: Final = "alerts"
_PAUSE_SECONDS: Final = 0.2

Key = tuple[Trouble, str]
Look = Callable[[Transaction, datetime], Mapping[Key, str]]
"""Returns the troubles there are now, with what a person should read."""


@dataclass(frozen=True, slots=True)
class AlertTiming:
    """How often is looked, how long a trouble must have stayed away, how long one process keeps at it."""

    look: timedelta = timedelta(seconds=30)
    settle: timedelta = timedelta(minutes=5)
    lease: timedelta = timedelta(minutes=2)


@dataclass
class Alerter:
    """Looks and tells. One instance per process; of several, the one with the lease works."""

    store: Store
    clock: Clock
    owner: str
    look: Look
    channels: Sequence[Channel]
    timing: AlertTiming = field(default_factory=AlertTiming)
    _suspected: set[Key] = field(default_factory=set)
    _clear_since: dict[Key, datetime] = field(default_factory=dict)

    def run(self, stop: Callable[[], bool]) -> None:
        """Look until ``stop()``. Raises ``StoreError``; it may be run again."""
        due = 0.0
        while not stop():
            if time.monotonic() >= due:
                self.step()
                due = time.monotonic() + self.timing.look.total_seconds()
            time.sleep(_PAUSE_SECONDS)  # `stop` is a question, nothing to wait on
        with self.store.begin() as tx:
            tx.leases.give_back(LEASE, self.owner)

    def step(self) -> None:
        """Look once, and tell what is to be told. Raises ``StoreError``."""
        now = self.clock()
        with self.store.begin() as tx:
            if not tx.leases.claim(LEASE, self.owner, now, self.timing.lease):
                self._suspected.clear()
                self._clear_since.clear()
                return
            found = self.look(tx, now)
            self._note(tx, found, now)
            known = tx.alerts.list_all()
        for alert in known:
            self._tell(alert)

    def _note(self, tx: Transaction, found: Mapping[Key, str], now: datetime) -> None:
        """Bring the rows up to what was found."""
        known = {(alert.trouble, alert.subject): alert for alert in tx.alerts.list_all()}
        for key, detail in found.items():
            self._clear_since.pop(key, None)
            alert = known.get(key)
            if alert is None and key in self._suspected:
                alert = Alert(*key, detail, now)
                tx.audit.write([AuditEvent(now, "alert-began", "alerts", f"{key[0]}/{key[1]}", detail)])
            if alert is not None:
                # Back before anybody was told that it is over: the same trouble.
                tx.alerts.put(replace(alert, detail=detail, ended_at=None))
        for key in known.keys() - found.keys():
            if known[key].ended_at is None and now - self._clear_since.setdefault(key, now) >= self.timing.settle:
                tx.alerts.put(replace(known[key], ended_at=now))
                tx.audit.write([AuditEvent(now, "alert-ended", "alerts", f"{key[0]}/{key[1]}", known[key].detail)])
        self._suspected = set(found)

    def _tell(self, alert: Alert) -> None:
        """Tell the channels that do not know yet; forget a trouble whose end all know that knew of it."""
        told = list(alert.told)
        for channel in self.channels:
            knows = channel.name in told
            if knows != (alert.ended_at is None) and self._reached(channel, alert):
                told = [name for name in told if name != channel.name] if knows else [*told, channel.name]
        known = {channel.name for channel in self.channels}
        with self.store.begin() as tx:
            if alert.ended_at is not None and not known.intersection(told):
                tx.alerts.remove(alert.trouble, alert.subject)
            elif tuple(told) != alert.told:
                tx.alerts.put(replace(alert, told=tuple(told)))

    def _reached(self, channel: Channel, alert: Alert) -> bool:
        try:
            channel.tell(alert)
        except NotTold as error:
            log.warning("an alert could not be told; it is tried again", channel=channel.name, why=str(error))
            return False
        return True


class LogChannel:
    """Tells whoever reads the log."""

    name = "log"

    def tell(self, alert: Alert) -> None:
        """Write a line."""
        if alert.ended_at is None:
            log.error("trouble", trouble=str(alert.trouble), subject=alert.subject, detail=alert.detail)
        else:
            log.info("trouble is over", trouble=str(alert.trouble), subject=alert.subject)
