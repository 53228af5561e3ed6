"""How many requests a client may make: a bucket of permissions per client, in each process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from gateway.errors import RequestRefused


@dataclass
class _Bucket:
    left: float
    at: float


class Throttle:
    """Lets each client make so many requests in a minute, in a row or spread over it. Safe from any thread.

    ``per_minute`` is for clients of which nothing else is said. Several processes count for themselves. A restart
    begins anew.
    """

    def __init__(self, per_minute: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._seconds = seconds
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, client: str, per_minute: int = 0) -> None:
        """Count one request of a client that may make ``per_minute`` (0: as many as any).

        Raises ``RequestRefused`` (429, throttled) with the seconds after which there is room again.
        """
        wait = self.wait(client, per_minute)
        if wait:
            what = "more requests than this client may make in a minute"
            raise RequestRefused(429, "throttled", what, retry_after=ceil(wait))

    def wait(self, client: str, per_minute: int = 0) -> float:
        """Count one request and return 0, or the seconds until there is room for it; then it is not counted."""
        most = per_minute or self._per_minute
        with self._lock:
            now = self._seconds()
            bucket = self._buckets.setdefault(client, _Bucket(most, now))
            bucket.left = min(most, bucket.left + (now - bucket.at) * most / 60)
            bucket.at = now
            if bucket.left < 1:
                return (1 - bucket.left) * 60 / most
            bucket.left -= 1
            return 0
