"""Worker processes: begun afresh, deaf to signals that are meant for the gateway, and ended with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TypeVarTuple

Needs = TypeVarTuple("Needs")


def processes(count: int, prepare: Callable[[*Needs], None], *needs: *Needs) -> ProcessPoolExecutor:
    """Return up to ``count`` processes, begun when there is work for them.

    Each calls ``prepare(*needs)`` first; both must be picklable.
    """
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin, initargs=(prepare, *needs))


def _begin(prepare: Callable[[*Needs], None], *needs: *Needs) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    prepare(*needs)


def _end_with_parent() -> None:
    """End this process when the gateway was killed: it holds its queue open itself and would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
