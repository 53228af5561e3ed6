"""Connecting to a name without being led elsewhere: what it stands for is looked up once, and that is connected to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from adapters.recipient.client import NotAdmitted

Lookup = Callable[..., Sequence[tuple[Any, ...]]]


class Pinned:
    """Connects as ``socket.create_connection`` does, to addresses that are admitted.

    Every address that a name stands for must be: one that is not shows that somebody leads us astray.
    """

    def __init__(self, admits: Callable[[str], bool], lookup: Lookup = socket.getaddrinfo) -> None:
        self._admits = admits
        self._lookup = lookup

    def __call__(self, where: tuple[str, int], timeout: float) -> socket.socket:
        """Return a connection. Raises ``OSError``; ``NotAdmitted`` when it may not be made."""
        found = self._lookup(*where, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not addresses or not all(map(self._admits, addresses)):
            raise NotAdmitted
        failed: OSError | None = None
        for address in addresses:
            try:
                return socket.create_connection((address, where[1]), timeout)
            except OSError as error:
                failed = error
        raise failed or NotAdmitted
