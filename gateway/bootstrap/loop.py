"""A thread that keeps a function running until it is stopped."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

import structlog
from tenacity import RetryCallState, Retrying, sleep_using_event, stop_when_event_set, wait_exponential_jitter

from gateway.errors import GatewayError

log = structlog.get_logger()


class Loop:
    """Runs ``target(stop)`` in a thread of its own; ``stop()`` turns true when it is to end.

    A target that fails is logged and run again after a wait that grows to 15 s: a role outlives a database that was
    restarted.
    """

    def __init__(self, name: str, target: Callable[[Callable[[], bool]], object]) -> None:
        self._name = name
        self._target = target
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Ask the target to end, without waiting for it."""
        self._ends.set()

    def stop(self) -> None:
        """Ask the target to end and wait for it."""
        self.ask()
        self._thread.join()

    def _run(self) -> None:
        again = Retrying(
            wait=wait_exponential_jitter(multiplier=0.2, max=15),
            stop=stop_when_event_set(self._ends),
            sleep=sleep_using_event(self._ends),
            before_sleep=self._tell,
            retry_error_callback=lambda _: None,
        )
        while not self._ends.is_set():
            again(self._target, self._ends.is_set)

    def _tell(self, state: RetryCallState) -> None:
        """Log what failed; of an error that is not ours only its type and place, as its text may quote a value."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, GatewayError):
            log.warning("a loop failed and goes on", loop=self._name, error=f"{type(error).__name__}: {error}")
        elif error is not None:
            where = "".join(traceback.format_tb(error.__traceback__))
            log.warning("a loop failed and goes on", loop=self._name, error=type(error).__name__, where=where)
