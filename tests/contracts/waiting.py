"""Waiting for a condition instead of sleeping. Whoever waits is in no hurry: a machine may be very slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE: Final = 240.0
"""Seconds that nothing takes on any machine, unless it will never come true."""


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE, what: str = "the condition") -> None:
    """Return as soon as ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)


@contextmanager
def running(target: Callable[[Callable[[], bool]], None]) -> Iterator[threading.Event]:
    """Run ``target(stop)`` on a thread of its own; stop it and wait for its end when the block ends."""
    stopped = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            target(stopped.is_set)
        except BaseException as error:  # noqa: BLE001 - shown in the test's own thread below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stopped
    finally:
        stopped.set()
        thread.join(PATIENCE)
    assert not thread.is_alive(), "it did not stop"
    assert not failures, failures
