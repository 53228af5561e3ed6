"""One connection to RabbitMQ, kept open by a thread of its own.

pika's connections belong to one thread: everybody else hands over work with ``Link.call``. The thread answers
heartbeats whatever the callers are busy with, and connects again when the connection is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog
from pika import SelectConnection
from pika.connection import Parameters
from pika.exceptions import AMQPError
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential_jitter
from tenacity.nap import sleep_using_event

from gateway.errors import BrokerUnavailable

log = structlog.get_logger()

CLOSE_SECONDS: Final = 1.0
"""How long the broker may take to answer that it closes too."""

Work = Callable[[SelectConnection], None]


class Link:
    """A connection that comes back. Nothing is opened before the first ``call``."""

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._parameters = parameters
        self._name = name
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._closing = threading.Event()
        self._current: SelectConnection | None = None
        self._thread: threading.Thread | None = None
        self._watchers: set[Callable[[], None]] = set()
        self._greeters: set[Work] = set()
        self._troubled = False

    def watch(self, lost: Callable[[], None], opened: Work | None = None) -> None:
        """Call ``lost`` on the connection's thread each time the connection is lost, ``opened`` when there is one."""
        with self._lock:
            self._watchers.add(lost)
            if opened is not None:
                self._greeters.add(opened)

    def forget(self, lost: Callable[[], None]) -> None:
        """Undo ``watch``."""
        with self._lock:
            self._watchers.discard(lost)

    def call(self, work: Work, wait: float = 2.0) -> None:
        """Run ``work`` on the connection's thread, soon; return at once when there is a connection.

        Raises ``BrokerUnavailable`` when there is none within ``wait`` seconds. When the connection is lost before
        ``work`` ran it does not run: whoever watches is told.
        """
        self._start()
        self._open.wait(wait)
        with self._lock:
            connection = self._current
            if connection is None or not self._open.is_set():
                raise BrokerUnavailable("no connection to RabbitMQ")
            connection.ioloop.add_callback_threadsafe(lambda: work(connection))

    def close(self) -> None:
        """Close the connection and end its thread."""
        self._closing.set()
        with self._lock:
            thread, connection = self._thread, self._current
            if connection is not None:
                connection.ioloop.add_callback_threadsafe(lambda: _hang_up(connection))
        if thread is not None:
            thread.join(5)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name=f"rabbitmq-{self._name}", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            again = Retrying(
                retry=retry_if_exception_type(),
                wait=wait_exponential_jitter(multiplier=0.1, max=10, jitter=0.4),
                stop=stop_when_event_set(self._closing),
                sleep=sleep_using_event(self._closing),
                retry_error_callback=lambda _: None,
            )
            again(self._serve)

    def _serve(self) -> None:
        """Connect and serve until the connection is lost. Raises when it never opened."""
        was_open = False

        def opened(connection: SelectConnection) -> None:
            nonlocal was_open
            was_open = True
            self._settle_trouble()
            self._open.set()
            for greet in list(self._greeters):
                greet(connection)

        def ended(connection: SelectConnection, reason: BaseException | str) -> None:
            self._lost(reason)
            connection.ioloop.stop()

        connection = SelectConnection(
            self._parameters, on_open_callback=opened, on_open_error_callback=ended, on_close_callback=ended
        )
        with self._lock:
            self._current = connection
        try:
            connection.ioloop.start()
        finally:
            self._lost("stopped")
            connection.ioloop.close()
        if not was_open:
            raise BrokerUnavailable("RabbitMQ could not be reached")

    def _lost(self, reason: BaseException | str) -> None:
        with self._lock:
            if self._current is None:
                return
            self._open.clear()
            self._current = None
            watchers = list(self._watchers)
        if not self._closing.is_set() and not self._troubled:
            self._troubled = True
            log.warning("rabbitmq is not reachable", connection=self._name, reason=type(reason).__name__)
        for lost in watchers:
            lost()

    def _settle_trouble(self) -> None:
        if self._troubled:
            self._troubled = False
            log.info("rabbitmq is reachable again", connection=self._name)


def _hang_up(connection: SelectConnection) -> None:
    """Close a connection; a broker that blocks it, as on a full disk, does not read that we do."""
    connection.ioloop.call_later(CLOSE_SECONDS, connection.ioloop.stop)
    try:
        connection.close()
    except AMQPError:
        connection.ioloop.stop()
