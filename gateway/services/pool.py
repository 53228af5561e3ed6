"""Worker processes that translate: all cores, and never the listener's (ARCHITECTURE, decision 4)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from multiprocessing import get_context, parent_process
from typing import Final

import structlog

from gateway.model.message import Message
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Failure, Translation
from gateway.ports import Translator
from gateway.services.defect import words_of

log = structlog.get_logger()

Codes = Mapping[str, tuple[CodeMapEntry, ...]]
TranslatorFactory = Callable[[Codes], Translator]
Work = tuple[bytes, str, datetime]

_translator: list[Translator] = []

_TRIES_ALONE: Final = 2
"""Tries of one message alone: the first process may have been killed for another reason."""


class InlineTranslator:
    """Translates in the calling thread: for one-off commands and very small installations."""

    def __init__(self, factory: TranslatorFactory) -> None:
        self._factory = factory
        self._translator = factory({})

    def translate(self, messages: Sequence[Message]) -> list[Translation]:
        """Return one translation per message, in the same order."""
        return [translate_one(self._translator, _work(message)) for message in messages]

    def renew(self, codes: Codes) -> None:
        """Translate with these code maps (site -> rows) from now on."""
        self._translator = self._factory(codes)

    def close(self) -> None:
        """Nothing to let go of."""


class ProcessTranslators:
    """Translates in ``workers`` processes.

    ``factory`` must be picklable; it is called once in each of them with the code maps of the moment.

    A worker that dies (killed, out of memory) is replaced; the messages it had are tried one by one, and the one that
    kills its worker alone, twice, fails, so that it cannot hold up the others. ``BrokenProcessPool`` is raised when no
    worker stays alive even without a message.
    """

    def __init__(self, factory: TranslatorFactory, workers: int) -> None:
        self._factory = factory
        self._workers = workers
        self._codes: Codes = {}
        self._pool = self._start()

    def translate(self, messages: Sequence[Message]) -> list[Translation]:
        """Return one translation per message, in the same order."""
        size = max(1, -(-len(messages) // (self._workers * 2)))
        chunks = [messages[start : start + size] for start in range(0, len(messages), size)]
        try:
            futures = [self._submit(chunk) for chunk in chunks]
            return [translation for future in futures for translation in future.result()]
        except BrokenProcessPool:
            log.warning("a translating process died; its messages are tried one by one", messages=len(messages))
            self._restart()
            return [self._alone(message) for message in messages]

    def renew(self, codes: Codes) -> None:
        """Translate with these code maps (site -> rows) from now on."""
        self._codes = codes
        self._restart()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _alone(self, message: Message) -> Translation:
        for _ in range(_TRIES_ALONE):
            try:
                return self._submit([message]).result()[0]
            except BrokenProcessPool:
                log.warning("a translating process died on this message", message=message.id, feed=message.feed)
                self._restart()
        self._pool.submit(_is_alive).result()
        return Translation(failure=Failure("message", "the translating process died on this message"))

    def _submit(self, messages: Sequence[Message]) -> Future[list[Translation]]:
        return self._pool.submit(_translate_chunk, [_work(message) for message in messages])

    def _start(self) -> ProcessPoolExecutor:
        context = get_context("spawn")
        return ProcessPoolExecutor(self._workers, context, initializer=_begin, initargs=(self._factory, self._codes))

    def _restart(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()


def translate_one(translator: Translator, work: Work) -> Translation:
    """Translate one message; an error of ours fails this message alone and names the line of code, never a value."""
    try:
        return translator.translate(*work)
    except Exception as error:  # noqa: BLE001 - a defect met by one message must not stop the feed
        return Translation(failure=Failure("message", words_of(error)))


def _work(message: Message) -> Work:
    return message.raw, message.feed, message.received_at


def _begin(factory: TranslatorFactory, codes: Codes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _translator.append(factory(codes))


def _end_with_parent() -> None:
    """End this process when the gateway was killed: it holds its queue open itself and would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _is_alive() -> bool:
    return True


def _translate_chunk(chunk: Sequence[Work]) -> list[Translation]:
    return [translate_one(_translator[-1], work) for work in chunk]
