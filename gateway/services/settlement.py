"""Waiting for messages to be translated: feeds with ``acknowledge = "translated"`` answer only then.

In one process the translating role says so at once (``settled``); from other processes it is noticed by looking.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.errors import Place, StoreError
from gateway.model.message import Message, MessageState
from gateway.ports import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.1
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?)?")

Told = Callable[[Message | None], None]


@dataclass(frozen=True, slots=True)
class _Watch:
    message: int
    until: float
    told: Told


class Settlements:
    """Tells when messages have left the state ``stored``."""

    def __init__(self, store: Store, look_seconds: float = _LOOK_SECONDS) -> None:
        self._store = store
        self._look_seconds = look_seconds
        self._changed = threading.Condition()
        self._watches: list[_Watch] = []
        self._again: set[int] = set()
        self._news = False
        self._running = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start looking."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name="settlements", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; whoever still waits is told None."""
        with self._changed:
            self._running = False
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def watch(self, message: int, within: float, told: Told, *, again: bool = False) -> None:
        """Call ``told`` when the message is settled, or with None after ``within`` seconds.

        ``again``: the sender repeats it; if it had failed, it is translated anew first.
        """
        with self._changed:
            self._watches.append(_Watch(message, time.monotonic() + within, told))
            if again:
                self._again.add(message)
                self._news = True
            self._changed.notify()

    def settled(self, message: int) -> None:
        """Look at once: this message was settled."""
        if any(watch.message == message for watch in tuple(self._watches)):
            with self._changed:
                self._news = True
                self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            self._look()
        for watch in self._watches:
            watch.told(None)

    def _wait(self) -> bool:
        """Sleep until there is something to look at; False at the end."""
        with self._changed:
            if not self._watches:
                self._changed.wait_for(lambda: self._watches or not self._running)
            self._changed.wait_for(lambda: self._news or not self._running, self._look_seconds)
            self._news = False
            return self._running

    def _look(self) -> None:
        with self._changed:
            watches, again = list(self._watches), self._again
            self._again = set()
        try:
            found = self._read({watch.message for watch in watches}, again)
        except StoreError as error:
            log.warning("could not look for settled messages", error=type(error).__name__)
            found = {}
        now = time.monotonic()
        done = [watch for watch in watches if watch.message in found or watch.until <= now]
        with self._changed:
            self._watches = [watch for watch in self._watches if watch not in done]
        for watch in done:
            watch.told(found.get(watch.message))

    def _read(self, messages: set[int], again: set[int]) -> dict[int, Message]:
        """Return the messages that are settled; those in ``again`` that had failed are put back instead."""
        settled: dict[int, Message] = {}
        with self._store.begin(write=bool(again)) as transaction:
            for id in messages:
                message = transaction.messages.get(id)
                if message is None or message.state is MessageState.STORED:
                    continue
                if id in again and message.state is MessageState.FAILED:
                    transaction.messages.restore([id])
                else:
                    settled[id] = message
        return settled


def place_of(text: str) -> Place | None:
    """Return the place that ``str(place)`` wrote, or None.

    >>> place_of("PID-3[2].4")
    Place(segment='PID', sequence=1, field=3, repetition=2, component=4)
    >>> place_of("message") is None
    True
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    sequence, field, repetition, component = (int(number or 0) for number in match.groups()[1:])
    return Place(match[1], sequence or 1, field, repetition or 1, component)
