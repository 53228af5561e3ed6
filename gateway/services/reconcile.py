"""Reconciling: from raw message to receipt, is everything accounted for, and was nothing done twice?

===========  =========================================================================================================
lost         a message answered positively that is neither waiting, translated, unhandled nor listed as failed; a
             delivery that owes something and that nothing will wake; an event that was given up, or that nobody
             publishes again, before its receipt came
doubled      the same version of a resource accepted twice by one view under two delivery ids, though nobody asked for
             it again; a message stored twice under the same feed, MSH-10 and content within the feed's window
===========  =========================================================================================================

What a person must look at (failed, held, dead) is listed and not lost; what the far end may have (uncertain) is sent
again under the same delivery id and not doubled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, Final

from gateway.model.delivery import Attempt, ChangeKind, DeliveryState, ManifestEntry, View
from gateway.model.message import MessageState
from gateway.ports import Period, Received, Store, Transaction
from gateway.services.relay import EXPIRED
from gateway.services.terms import FILE

EVER: Final = Period()
_STATES: Final = ("refused", "held", "waiting", "translated", "failed", "unhandled")


@dataclass
class FeedLine:
    """What came in over a feed on a day (UTC). ``held``: conflicts; ``versions``: resource versions written."""

    feed: str
    day: date
    received: int = 0
    refused: int = 0
    held: int = 0
    waiting: int = 0
    translated: int = 0
    failed: int = 0
    unhandled: int = 0
    versions: int = 0


@dataclass
class ViewLine:
    """What went out to a view. ``delivered``, ``retracted`` and ``uncertain`` count entries, ``withheld`` changes.

    ``waiting`` and ``dead`` count deliveries as they stand now; ``unreceipted`` the recipient's events.
    """

    recipient: str
    study: str
    attempts: int = 0
    delivered: int = 0
    retracted: int = 0
    uncertain: int = 0
    withheld: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    dead: int = 0
    unreceipted: int = 0


@dataclass
class Reconciliation:
    """The answer: what was counted, and a line for each thing lost or doubled."""

    feeds: list[FeedLine] = field(default_factory=list)
    views: list[ViewLine] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the answer line by line."""
        yield from ({"kind": "feed", **asdict(line)} for line in self.feeds)
        yield from ({"kind": "view", **asdict(line), "withheld": dict(line.withheld)} for line in self.views)
        yield {"kind": "lost", "count": len(self.lost), "which": self.lost}
        yield {"kind": "doubled", "count": len(self.doubled), "which": self.doubled}


@dataclass(frozen=True, slots=True)
class Unit:
    """What of the configuration counts: the window of each feed's repeats, and who consumes events."""

    windows: Mapping[str, timedelta]
    amqp: frozenset[str]


def reconcile(store: Store, unit: Unit, period: Period = EVER) -> Reconciliation:
    """Count what came in and went out in a period, and name what was lost or doubled. Reads alone."""
    with store.begin(write=False) as tx:
        return _Reconciling(tx, unit, period).run()


class _Reconciling:
    def __init__(self, tx: Transaction, unit: Unit, period: Period) -> None:
        self._accounts = tx.accounts
        self._unit = unit
        self._period = period
        self._found = Reconciliation()
        self._views: dict[View, ViewLine] = {}

    def run(self) -> Reconciliation:
        self._count_messages()
        self._follow_attempts()
        for view, detail in self._accounts.withheld(self._period):
            self._view(view).withheld.update(_rules(detail))
        self._count_cursors()
        self._count_events()
        self._find_twins()
        self._found.views = [self._views[view] for view in sorted(self._views, key=lambda v: (v.recipient, v.study))]
        return self._found

    def _view(self, view: View) -> ViewLine:
        return self._views.setdefault(view, ViewLine(view.recipient, view.study))

    def _count_messages(self) -> None:
        for (feed, day), some in groupby(self._accounts.received(self._period), lambda row: (row.feed, row.day)):
            line = FeedLine(feed, day)
            for row in some:
                _add(line, row)
            self._found.feeds.append(line)
        for id, state in self._accounts.unaccounted(self._period):
            self._found.lost.append(f"message {id} was answered positively and is {state}: nobody will translate it")

    def _follow_attempts(self) -> None:
        asked = self._replays()
        for (view, _), some in groupby(self._accounts.attempts(), lambda each: (each[0], each[1].delivery)):
            following = _Following(self._view(view), self._period, asked)
            for _, attempt in some:
                self._found.doubled += following.follow(attempt)
            following.end()

    def _replays(self) -> dict[str, list[datetime]]:
        """Return when somebody asked for what was sent to be sent again: by delivery, and by recipient's file."""
        asked: dict[str, list[datetime]] = defaultdict(list)
        for action in ("delivery-replayed", FILE):
            for line in self._accounts.lines(action, EVER):
                asked[line.subject].append(line.at)
        return asked

    def _count_cursors(self) -> None:
        for view, state, count in self._accounts.cursors():
            line = self._view(view)
            line.waiting += count if state in {DeliveryState.DUE, DeliveryState.SENDING} else 0
            line.dead += count if state == DeliveryState.DEAD else 0
        for id, view in self._accounts.idle_but_owing():
            self._found.lost.append(f"delivery {id} to {view.recipient} owes something and nothing will wake it")

    def _count_events(self) -> None:
        for recipient, count in self._accounts.unreceipted():
            for view in [view for view in self._views if view.recipient == recipient]:
                self._views[view].unreceipted = count
            if recipient not in self._unit.amqp:
                self._found.lost.append(f"{count} events wait for receipts of {recipient}, which is no amqp recipient")
        for line in self._accounts.lines(EXPIRED, self._period):
            when = line.at.isoformat(" ", "seconds")
            self._found.lost.append(f"{line.detail} to {line.actor} were given up without a receipt at {when}")

    def _find_twins(self) -> None:
        for twins in self._accounts.twins():
            for first, second in pairwise(twins):
                window = self._unit.windows.get(first.feed, timedelta(days=30))
                if second.received_at - first.received_at < window and _falls(second.received_at, self._period):
                    self._found.doubled.append(f"messages {first.message} and {second.message} are the same, both kept")


@dataclass(frozen=True, slots=True)
class _Accepted:
    """When and how a view last certainly took a resource."""

    version: int
    retracted: bool
    attempt: Attempt


class _Following:
    """The attempts of one delivery, one after the other."""

    def __init__(self, line: ViewLine, period: Period, asked: Mapping[str, list[datetime]]) -> None:
        self._line = line
        self._period = period
        self._asked = asked
        self._took: dict[str, _Accepted] = {}
        self._open: set[str] = set()

    def follow(self, attempt: Attempt) -> Iterator[str]:
        """Count an attempt; yield what it delivered a second time."""
        counts = _falls(attempt.settled_at, self._period)
        self._line.attempts += counts
        for entry in attempt.manifest:
            if attempt.outcome == "unknown":
                self._open.add(entry.resource)
                self._took.pop(entry.resource, None)
            elif attempt.outcome == "accepted":
                doubled = self._doubles(entry, attempt)
                self._take(entry, attempt, counts=counts)
                if counts and doubled:
                    yield doubled

    def end(self) -> None:
        """Count what the view may have, and nobody knows."""
        self._line.uncertain += len(self._open)

    def _take(self, entry: ManifestEntry, attempt: Attempt, *, counts: bool) -> None:
        retracted = entry.kind is ChangeKind.RETRACTED
        self._line.retracted += counts and retracted
        self._line.delivered += counts and not retracted
        self._took[entry.resource] = _Accepted(entry.version, retracted, attempt)
        self._open.discard(entry.resource)

    def _doubles(self, entry: ManifestEntry, attempt: Attempt) -> str:
        before = self._took.get(entry.resource)
        if before is None or before.attempt.number == attempt.number:
            return ""
        if (before.version, before.retracted) != (entry.version, entry.kind is ChangeKind.RETRACTED):
            return ""
        # A Patient bears the subject number: it is told once more when the ground for releasing it says another.
        if entry.type == "Patient" and before.attempt.grounds != attempt.grounds:
            return ""
        if self._asked_between(before.attempt, attempt):
            return ""
        ids = f"{attempt.delivery}-{before.attempt.number} and {attempt.delivery}-{attempt.number}"
        return f"{entry.type}/{entry.resource} version {entry.version} was accepted under delivery ids {ids}"

    def _asked_between(self, first: Attempt, second: Attempt) -> bool:
        subjects = (f"delivery/{second.delivery}", f"recipient/{self._line.recipient}")
        moments = (at for subject in subjects for at in self._asked.get(subject, ()))
        return any(first.settled_at <= at <= second.settled_at for at in moments)


def _add(line: FeedLine, row: Received) -> None:
    line.received += row.messages
    line.versions += row.versions
    name = {
        MessageState.STORED.value: "waiting",
        MessageState.QUARANTINED.value: "refused",
        MessageState.CONFLICT.value: "held",
    }.get(row.state, row.state)
    if name in _STATES:
        setattr(line, name, getattr(line, name) + row.messages)


def _rules(detail: str) -> dict[str, int]:
    """Return the changes withheld by rule, as the line of an attempt lists them."""
    counts = (part.rpartition(": ") for part in detail.split(", "))
    return {rule: int(count) for rule, _, count in counts if count.isdecimal()} or {detail: 1}


def _falls(moment: datetime, period: Period) -> bool:
    return (period.since is None or moment >= period.since) and (period.until is None or moment < period.until)
