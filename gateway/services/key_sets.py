"""The clients' published key sets, fetched when they are needed and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.errors import InvalidKeySet
from gateway.jose import Assertion, KeySet
from gateway.ports import KeySetSource
from gateway.services.throttle import Throttle

log = structlog.get_logger()

FRESH_SECONDS: Final = 300.0
"""For how long a fetched set is used without looking again: a key taken out of it is good for so long at most."""

STALE_SECONDS: Final = 900.0
"""For how long it is used while its address does not answer."""

FETCHES_PER_MINUTE: Final = 6
"""Of one address. An assertion with an unknown kid, which anybody can send, makes us fetch."""


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
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
        """Say whether a key published at an address signed an assertion; a kid that is not known is looked for once."""
        keys = self._keys(url, assertion)
        return keys is not None and keys.signed(assertion)

    def _keys(self, url: str, assertion: Assertion) -> KeySet | None:
        with self._guard:
            kept = self._kept.setdefault(url, _Kept())
        with kept.lock:
            age = self._seconds() - kept.fetched
            known = kept.keys is not None and kept.keys.knows(assertion)
            if not (known and age < FRESH_SECONDS) and not self._throttle.wait(url):
                self._fetch(url, kept)
            return kept.keys if self._seconds() - kept.fetched < STALE_SECONDS else None

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
