"""Finding trouble: failing recipients and subscriptions, silent feeds, growing queues, what is near its end."""

from __future__ import annotations

import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.model.alert import Rhythm, Trouble
from gateway.model.subscription import SubscriptionState
from gateway.ports import FeedNews, QueueLine, Transaction
from gateway.services.alerts import Key

PERIOD: Final = timedelta(days=14)
"""A feed's usual silence is the longest of this period and the one before, so that weekends are in it."""

KNOWN_AFTER: Final = 100
"""Messages after which a feed's habits are taken for known."""

GROWTH_LOOKS: Final = 10
GROWTH: Final = 1000
"""A queue that never shrank over so many looks and has so many more in it grows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on it is trouble.

    ``silent`` maps feed -> the silence its file names (zero: it may be silent); the others' usual silence times
    ``factor`` is too long, and never less than ``least_silence``. ``disk_free`` is a share of the whole.
    """

    silent: Mapping[str, timedelta] = field(default_factory=dict)
    factor: float = 1.5
    least_silence: timedelta = timedelta(hours=1)
    waiting: timedelta = timedelta(minutes=15)
    disk_free: float = 0.1
    certificate: timedelta = timedelta(days=30)


@dataclass
class Watch:
    """Looks for every trouble. ``certificates`` returns when each file's certificate ends (UTC), by the file's name.

    Not safe for use by several threads at once.
    """

    feeds: tuple[str, ...]
    recipients: tuple[str, ...]
    data: Path
    limits: Limits
    certificates: Callable[[], Mapping[str, datetime]]
    _seen: int | None = None
    _counts: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=GROWTH_LOOKS)))

    def __call__(self, tx: Transaction, now: datetime) -> dict[Key, str]:
        """Return the troubles there are now."""
        found = dict(self._failing(tx))
        found.update(self._untold(tx))
        found.update(self._silent(tx, now))
        failing = {subject for trouble, subject in found if trouble is Trouble.RECIPIENT_FAILING}
        found.update(self._growing("feed", tx.feed_queues(), now))
        lines = [line for line in tx.recipient_queues() if line.name not in failing]
        found.update(self._growing("recipient", lines, now))
        found.update(self._disk())
        found.update(self._ending(now))
        return found

    def _failing(self, tx: Transaction) -> Iterator[tuple[Key, str]]:
        for recipient in self.recipients:
            breaker = tx.breakers.get(recipient)
            if breaker.open_until is not None:
                yield (Trouble.RECIPIENT_FAILING, recipient), f"takes no deliveries: {breaker.reason}"
        for line in tx.recipient_queues():
            if line.dead:
                yield (Trouble.DELIVERIES_DEAD, line.name), f"{line.dead} wait for a person: gateway deliveries list"

    def _untold(self, tx: Transaction) -> Iterator[tuple[Key, str]]:
        for one in tx.subscriptions.every():
            if one.state is SubscriptionState.ERROR:
                yield (
                    (Trouble.SUBSCRIPTION_FAILING, f"{one.client} {one.id}"),
                    f"tells its client nothing: {one.detail}",
                )

    def _silent(self, tx: Transaction, now: datetime) -> Iterator[tuple[Key, str]]:
        known = {one.feed: one for one in tx.alerts.rhythms()}
        if self._seen is None:  # habits are learned from now on, not from a whole archive
            self._seen = max((one.seen for one in known.values()), default=tx.alerts.newest())
        news = tx.alerts.news(self._seen)
        learned = {one.feed: learn(known.get(one.feed), one) for one in news}
        self._seen = max((one.seen for one in learned.values()), default=self._seen)
        tx.alerts.put_rhythms(learned.values())
        for rhythm in (known | learned).values():
            limit = self._silence(rhythm)
            silence = now - rhythm.last_at
            if rhythm.feed in self.feeds and limit and silence > limit:
                words = f"no message since {rhythm.last_at.isoformat(' ', 'seconds')}; usually within {_words(limit)}"
                yield (Trouble.FEED_SILENT, rhythm.feed), words

    def _silence(self, rhythm: Rhythm) -> timedelta:
        """Return the silence that is too long for a feed; zero while nobody knows."""
        if rhythm.feed in self.limits.silent:
            return self.limits.silent[rhythm.feed]
        if rhythm.count < KNOWN_AFTER:
            return timedelta(0)
        return max(timedelta(seconds=rhythm.usual * self.limits.factor), self.limits.least_silence)

    def _growing(self, kind: str, lines: list[QueueLine], now: datetime) -> Iterator[tuple[Key, str]]:
        waiting = {line.name: line for line in lines}
        for name in {*waiting, *(each.partition("/")[2] for each in self._counts if each.startswith(f"{kind}/"))}:
            line = waiting.get(name)
            counts = self._counts[f"{kind}/{name}"]
            counts.append(line.waiting if line else 0)
            if line and line.oldest and now - line.oldest > self.limits.waiting:
                yield (
                    (Trouble.QUEUE_GROWING, name),
                    f"{line.waiting} wait, since {line.oldest.isoformat(' ', 'seconds')}",
                )
            elif len(counts) == GROWTH_LOOKS and counts[-1] - counts[0] >= GROWTH and list(counts) == sorted(counts):
                yield (Trouble.QUEUE_GROWING, name), f"{counts[-1]} wait, and there are more at each look"

    def _disk(self) -> Iterator[tuple[Key, str]]:
        disk = shutil.disk_usage(self.data)
        if disk.free < disk.total * self.limits.disk_free:
            yield (Trouble.DISK_LOW, "data"), f"{disk.free / disk.total:.0%} of the disk under the data folder is free"

    def _ending(self, now: datetime) -> Iterator[tuple[Key, str]]:
        for name, ends in self.certificates().items():
            if ends - now < self.limits.certificate:
                yield (Trouble.CERTIFICATE_ENDING, name), f"ends on {ends.isoformat(' ', 'seconds')}"


def learn(rhythm: Rhythm | None, news: FeedNews) -> Rhythm:
    """Return what is known of a feed after it has spoken."""
    if rhythm is None:
        return Rhythm(news.feed, news.last, news.first, count=news.messages, seen=news.newest)
    if news.first - rhythm.since > PERIOD:
        rhythm = replace(rhythm, since=news.first, before=rhythm.longest, longest=0.0)
    silence = max((news.first - rhythm.last_at).total_seconds(), 0.0)
    return replace(
        rhythm,
        last_at=max(rhythm.last_at, news.last),
        longest=max(rhythm.longest, silence),
        count=rhythm.count + news.messages,
        seen=news.newest,
    )


def _words(length: timedelta) -> str:
    hours = length / timedelta(hours=1)
    return f"{hours:.0f} h" if hours >= 2 else f"{length / timedelta(minutes=1):.0f} min"
