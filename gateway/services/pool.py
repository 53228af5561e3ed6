"""Worker processes that translate: all cores, and never the listener's (ARCHITECTURE, decision 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from typing import Final, Protocol

import structlog

from gateway.model.message import Message
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Failure, Translation
from gateway.ports import Translator
from gateway.services.defect import words_of
from gateway.services.processes import processes

log = structlog.get_logger()

Codes = Mapping[str, tuple[CodeMapEntry, ...]]
TranslatorFactory = Callable[[Codes], Translator]
Work = tuple[bytes, str, datetime]

_translator: list[Translator] = []

_LOOK_UP_SECONDS: Final = 1.0

_TRIES_ALONE: Final = 2
"""Tries of one message alone: the first process may have been killed for another reason."""


class Begun(Protocol):
    """Messages that are being translated."""

    def result(self, meanwhile: Callable[[], None]) -> list[Translation]:
        """Return one translation per message, in the same order; call ``meanwhile`` now and then until they are there.

        What ``meanwhile`` raises ends the waiting.
        """

    def cancel(self) -> None:
        """Do not begin what is not begun yet: nobody will ask for the result."""


class InlineTranslator:
    """Translates in the calling thread: a process that does nothing else, one-off commands, small installations."""

    ahead = False
    """Nothing is translated beside the caller."""

    def __init__(self, factory: TranslatorFactory) -> None:
        self._factory = factory
        self._translator = factory({})

    def begin(self, messages: Sequence[Message]) -> Begun:
        """Translate these messages when the result is asked for."""
        return _Inline(self._translator, messages)

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

    ahead = True
    """The caller may begin the next messages before it has asked for these."""

    def __init__(self, factory: TranslatorFactory, workers: int) -> None:
        self._factory = factory
        self._workers = workers
        self._codes: Codes = {}
        self._pool = self._start()

    def begin(self, messages: Sequence[Message]) -> Begun:
        """Begin to translate these messages, a few at a time in each process."""
        size = max(1, -(-len(messages) // (self._workers * 2)))
        chunks = [messages[start : start + size] for start in range(0, len(messages), size)]
        return _InProcesses(self, messages, [self._submit(chunk) for chunk in chunks])

    def renew(self, codes: Codes) -> None:
        """Translate with these code maps (site -> rows) from now on."""
        self._codes = codes
        self._restart()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def alone(self, message: Message) -> Translation:
        """Translate one message that may have killed its process."""
        for _ in range(_TRIES_ALONE):
            try:
                return self._submit([message]).result()[0]
            except BrokenProcessPool:
                log.warning("a translating process died on this message", message=message.id, feed=message.feed)
                self._restart()
        self._pool.submit(_is_alive).result()
        return Translation(failure=Failure("message", "the translating process died on this message"))

    def _submit(self, messages: Sequence[Message]) -> Future[list[Translation]]:
        try:
            return self._pool.submit(_translate_chunk, [_work(message) for message in messages])
        except BrokenProcessPool:
            self._restart()  # it died while it had nothing to do
            return self._pool.submit(_translate_chunk, [_work(message) for message in messages])

    def _start(self) -> ProcessPoolExecutor:
        return processes(self._workers, _begin, self._factory, self._codes)

    def _restart(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()


class _Inline:
    """Messages that this thread translates when they are asked for."""

    def __init__(self, translator: Translator, messages: Sequence[Message]) -> None:
        self._translator = translator
        self._messages = messages

    def result(self, meanwhile: Callable[[], None]) -> list[Translation]:
        """Translate, and call ``meanwhile`` before each message."""
        translations = []
        for message in self._messages:
            meanwhile()
            translations.append(translate_one(self._translator, _work(message)))
        return translations

    def cancel(self) -> None:
        """Nothing was begun."""


class _InProcesses:
    """Messages that worker processes translate."""

    def __init__(
        self, pool: ProcessTranslators, messages: Sequence[Message], futures: Sequence[Future[list[Translation]]]
    ) -> None:
        self._pool = pool
        self._messages = messages
        self._futures = futures

    def result(self, meanwhile: Callable[[], None]) -> list[Translation]:
        """Wait for the processes, and call ``meanwhile`` every second."""
        while wait(self._futures, timeout=_LOOK_UP_SECONDS).not_done:
            meanwhile()
        try:
            return [translation for future in self._futures for translation in future.result()]
        except BrokenProcessPool:
            log.warning("a translating process died; its messages are tried one by one", messages=len(self._messages))
        translations = []
        for message in self._messages:
            meanwhile()
            translations.append(self._pool.alone(message))
        return translations

    def cancel(self) -> None:
        """Do not begin what is not begun yet."""
        for future in self._futures:
            future.cancel()


def translate_one(translator: Translator, work: Work) -> Translation:
    """Translate one message; an error of ours fails this message alone and names the line of code, never a value."""
    try:
        return translator.translate(*work)
    except Exception as error:  # noqa: BLE001 - a defect met by one message must not stop the feed
        return Translation(failure=Failure("message", words_of(error)))


def _work(message: Message) -> Work:
    return message.raw, message.feed, message.received_at


def _begin(factory: TranslatorFactory, codes: Codes) -> None:
    _translator.append(factory(codes))


def _is_alive() -> bool:
    return True


def _translate_chunk(chunk: Sequence[Work]) -> list[Translation]:
    return [translate_one(_translator[-1], work) for work in chunk]
