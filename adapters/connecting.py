"""Connecting to one of several addresses within a time that does not grow with their number."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

Connecting = Callable[[tuple[str, int], float], socket.socket]


def first_of(
    addresses: Sequence[str],
    port: int,
    seconds: float,
    connecting: Connecting = socket.create_connection,
    clock: Callable[[], float] = time.monotonic,
) -> socket.socket:
    """Return a connection to the first address that answers; its own timeout is ``seconds``.

    One that does not answer leaves time for those behind it. Raises the ``OSError`` of the last.
    """
    until = clock() + seconds
    failed: OSError = TimeoutError()
    for number, address in enumerate(addresses):
        share = (until - clock()) / (len(addresses) - number)
        try:
            connection = connecting((address, port), max(share, 0.001))
        except OSError as error:
            failed = error
        else:
            connection.settimeout(seconds)
            return connection
    raise failed
