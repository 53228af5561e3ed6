"""Ports that nobody listens on, for servers that are started a while after they were named."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

FIRST: Final = 10_000
COUNT: Final = 22_000
"""Below the ports that the system gives to outgoing connections (from 32768): one of those may be taken any moment."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, and that no other process of the tests was given lately."""
    found: list[int] = []
    while len(found) < count:
        port = FIRST + _next() % COUNT
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def free_port() -> int:
    """Return one port that nobody listens on now."""
    return free_ports(1)[0]


def _next() -> int:
    """Count on, in a file that the tests of this user share, whatever process they are in."""
    with (Path(tempfile.gettempdir()) / f"gateway-test-ports-{os.getuid()}").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0) + 1
        file.truncate(0)
        file.write(str(number))
    return number
