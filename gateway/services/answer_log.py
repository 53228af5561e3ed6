"""Noting what answers disclose: whatever waits is committed together, and each answer leaves once it is kept."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from gateway.ports import Answer, Store


class AnswerLog:
    """Keeps answers. Many note at once: whoever has the turn writes for all that wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[tuple[Answer, Future[None]]] = []

    def note(self, answer: Answer) -> None:
        """Keep an answer. Raises ``StoreUnavailable`` when it cannot be kept."""
        kept: Future[None] = Future()
        with self._guard:
            self._waiting.append((answer, kept))
        with self._turn:
            if not kept.done():
                self._write()
        kept.result()

    def _write(self) -> None:
        with self._guard:
            taken, self._waiting = self._waiting, []
        try:
            with self._store.begin() as tx:
                tx.answers.add([answer for answer, _ in taken])
        except Exception as error:  # noqa: BLE001 - each of those that wait raises it
            for _, kept in taken:
                kept.set_exception(error)
        else:
            for _, kept in taken:
                kept.set_result(None)
