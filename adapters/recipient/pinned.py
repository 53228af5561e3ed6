"""Connecting to a name without being led elsewhere: what it stands for is looked up once, and that is connected to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from adapters.connecting import first_of
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
        """Return a connection, made within ``timeout`` seconds however many addresses there are.

        Raises ``OSError``; ``NotAdmitted`` when it may not be made.
        """
        found = self._lookup(*where, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not addresses or not all(map(self._admits, addresses)):
            raise NotAdmitted
        return first_of(addresses, where[1], timeout)
