"""The clients' published key sets, fetched when they are needed and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.errors import InvalidKeySet, TokenRefused
from gateway.jose import Assertion, KeySet
from gateway.ports import KeySetSource
from gateway.services.throttle import Throttle

log = structlog.get_logger()

FRESH_SECONDS: Final = 300.0
"""For how long a fetched set is used without looking again: a key taken out of it is good for so long at most."""

STALE_SECONDS: Final = 900.0
"""For how long it is used while its address does not answer."""

WAITING: Final = 3
"""So many requests at a time fetch a set or wait for it: one client's slow server must not hold up the others."""

FETCHES_PER_MINUTE: Final = 6
"""Of one address. An assertion with an unknown kid, which anybody can send, makes us fetch."""


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(WAITING))
    keys: KeySet | None = None
    fetched: float = 0.0
    failed: str = ""


class KeySets:
    """Key sets by their address. Safe from any thread; each address is asked by one of them at a time."""

    def __init__(self, source: KeySetSource, seconds: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}
        self._guard = threading.Lock()
        self._throttle = Throttle(FETCHES_PER_MINUTE, seconds)

    def signed(self, url: str, assertion: Assertion) -> bool:
        """Say whether a key published at an address signed an assertion; a kid that is not known is looked for once.

        Raises ``TokenRefused`` (503) when too many wait for that address already.
        """
        keys = self._keys(url, assertion)
        return keys is not None and keys.signed(assertion)

    def _keys(self, url: str, assertion: Assertion) -> KeySet | None:
        with self._guard:
            kept = self._kept.setdefault(url, _Kept())
        if not self._serves(kept, assertion):
            if not kept.places.acquire(blocking=False):
                what = "the client's key set is slow to come; try again"
                raise TokenRefused("temporarily_unavailable", what, 503, retry_after=1)
            try:
                with kept.lock:
                    if not self._serves(kept, assertion) and not self._throttle.wait(url):
                        self._fetch(url, kept)
            finally:
                kept.places.release()
        return kept.keys if self._seconds() - kept.fetched < STALE_SECONDS else None

    def _serves(self, kept: _Kept, assertion: Assertion) -> bool:
        """Whether what is kept need not be fetched anew for an assertion."""
        known = kept.keys is not None and kept.keys.knows(assertion)
        return known and self._seconds() - kept.fetched < FRESH_SECONDS

    def _fetch(self, url: str, kept: _Kept) -> None:
        try:
            kept.keys = KeySet(self._source.fetch(url))
        except InvalidKeySet as error:
            if str(error) != kept.failed:
                log.warning("a client's key set cannot be had", address=url, error=str(error))
            kept.failed = str(error)
        else:
            kept.failed = ""
            kept.fetched = self._seconds()
