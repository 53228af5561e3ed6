"""Noting what answers disclose: whatever waits is committed together, and each answer leaves once it is kept."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from gateway.ports import Answer, Store


class AnswerLog:
    """Keeps answers. Many note at once: a thread of its own writes for all that wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(1, "answers")
        self._guard = threading.Lock()
        self._waiting: list[tuple[Answer, Future[None]]] = []

    def note(self, answer: Answer) -> None:
        """Keep an answer. Raises ``StoreUnavailable`` when it cannot be kept."""
        self.noting(answer).result()

    def noting(self, answer: Answer) -> Future[None]:
        """Begin to keep an answer; return what is done when it is committed, or raises ``StoreUnavailable``."""
        kept: Future[None] = Future()
        kept.set_running_or_notify_cancel()  # it is kept though whoever asked goes away
        with self._guard:
            self._waiting.append((answer, kept))
            first = len(self._waiting) == 1
        if first:
            self._writer.submit(self._write)
        return kept

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
