"""The lanes a translating process holds: claimed for many batches, renewed in time, given back when nothing waits.

While a worker holds a lane nobody else writes what waits in it. It keeps the lanes of messages that are in work, and
changes the others every second for those that wait longest, so that no lane waits for a busy one to run dry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Final

from gateway.model.message import Message
from gateway.ports import Clock, LaneClaim, Store, Transaction

TURN: Final = timedelta(seconds=1)
"""How long a worker goes on with the lanes it has while they keep it busy."""


class HeldLanes:
    """The claims of one worker. ``lease``: how long they hold unrenewed; ``limit``: how many it claims at a time."""

    def __init__(self, store: Store, owner: str, clock: Clock, *, lease: timedelta, limit: int) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._lease = lease
        self._limit = limit
        self._held: dict[int, LaneClaim] = {}
        self._claimed_at = self._renewed_at = clock()

    @property
    def all(self) -> list[LaneClaim]:
        """Every claim."""
        return list(self._held.values())

    @property
    def turn_is_over(self) -> bool:
        """Whether it is time to look for lanes that wait longer."""
        return not self._held or not timedelta(0) <= self._clock() - self._claimed_at < min(TURN, self._lease / 3)

    def of(self, messages: Iterable[Message]) -> list[LaneClaim]:
        """Return the claims of these messages' lanes."""
        return [self._held[lane] for lane in sorted({message.lane for message in messages})]

    def claim(self, tx: Transaction, in_work: Collection[int] = ()) -> None:
        """Claim the lanes that wait longest and give back those that do not, but for the lanes that are in work."""
        now = self._clock()
        claims = {claim.lane: claim for claim in tx.lanes.claim(self._owner, now, self._lease, self._limit)}
        kept = {lane: claim for lane, claim in self._held.items() if lane in in_work and lane not in claims}
        left = [claim for lane, claim in self._held.items() if lane not in claims and lane not in kept]
        tx.lanes.give_back(self._owner, left)
        self._held = kept | claims
        self._claimed_at = self._renewed_at = now

    def renew(self) -> None:
        """Hold the lanes for another lease when a third of it has passed. Raises ``StaleClaim`` when one is lost."""
        now = self._clock()
        if self._held and not timedelta(0) <= now - self._renewed_at < self._lease / 3:
            with self._store.begin() as tx:
                tx.lanes.renew(self._owner, self.all, now + self._lease)
            self._renewed_at = now

    def give_back(self) -> None:
        """Free every lane."""
        claims, self._held = self.all, {}
        if claims:
            with self._store.begin() as tx:
                tx.lanes.give_back(self._owner, claims)
