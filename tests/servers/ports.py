"""Ports that nobody listens on, for servers that are started a while after they were named."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

FIRST: Final = 10_000
COUNT: Final = 22_000
"""Below the ports that the system gives to outgoing connections (from 32768): one of those may be taken any moment."""


def _candidates() -> Iterator[int]:
    """Yield ports, each process from another place."""
    start = os.getpid() * 1009
    return (FIRST + (start + step) % COUNT for step in itertools.count())


_ports: dict[int, Iterator[int]] = {}


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, no port twice."""
    candidates = _ports.setdefault(os.getpid(), _candidates())
    found: list[int] = []
    while len(found) < count:
        port = next(candidates)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def free_port() -> int:
    """Return one port that nobody listens on now."""
    return free_ports(1)[0]
