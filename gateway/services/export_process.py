"""Who writes stretches of exports: the calling thread, or worker processes, which write several at a time.

A process only reads, so it may look into the file of an embedded database beside its owner, who puts down what was
written; and whoever answers or takes messages in is not held up by deciding what may leave.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from itertools import cycle
from typing import Final, Protocol

from msgspec import msgpack

from gateway.errors import GatewayError
from gateway.services.defect import words_of
from gateway.services.export_files import Piece
from gateway.services.export_order import Order
from gateway.services.export_parts import Stretch, Writer, Written
from gateway.services.processes import processes

WriterFactory = Callable[[], Writer]
Work = tuple[Stretch, Order, str, datetime, int]
"""The arguments of ``Writer.write``."""

Begun = Callable[[], Written]
"""Returns what was written of a stretch once it is, and raises what ``Writer.write`` raises."""

_FOR_EACH: Final = 2
"""Stretches begun for each process: one that it writes, and one that is written or waits meanwhile."""

_PIECES: Final = msgpack.Decoder(list[Piece])
_PACKED: Final = msgpack.Encoder().encode

_writer: list[Writer] = []


class Writers(Protocol):
    """Who writes. ``ahead``: how many stretches may be begun at a time."""

    ahead: int

    def begin(self, work: Work) -> Begun:
        """Begin to write a stretch."""

    def close(self) -> None:
        """Let go of what was begun."""


class InlineWriters:
    """Writes in the calling thread, when the result is asked for."""

    ahead = 1

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def begin(self, work: Work) -> Begun:
        """Write a stretch when the result is asked for."""
        return lambda: self._writer.write(*work)

    def close(self) -> None:
        """Nothing was begun."""


class ProcessWriters:
    """Writes in ``workers`` processes, in turn. ``factory`` must be picklable; it is called once in each of them.

    ``BrokenProcessPool`` is raised of what was begun in one that died (killed, out of memory). They share no queue:
    one that is killed while it takes something out of it leaves it locked for ever.
    """

    def __init__(self, factory: WriterFactory, workers: int) -> None:
        self.ahead = workers * _FOR_EACH
        self._pools = [processes(1, _begin, factory) for _ in range(workers)]
        self._turns = cycle(self._pools)

    def begin(self, work: Work) -> Begun:
        """Begin to write a stretch."""
        future = next(self._turns).submit(_write, work)
        return lambda: _unpacked(future)

    def close(self) -> None:
        """End the processes when they have written what each is at."""
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _unpacked(future: Future[tuple[Written, bytes]]) -> Written:
    written, pieces = future.result()
    written.pieces = _PIECES.decode(pieces)
    return written


# --- in a worker process ----------------------------------------------------------------------------------------------


def _begin(factory: WriterFactory) -> None:
    _writer.append(factory())


def _write(work: Work) -> tuple[Written, bytes]:
    """Return what was written, its pieces packed: to pickle each of them would take as long as to write it."""
    try:
        written = _writer[-1].write(*work)
    except GatewayError:
        raise
    except Exception as error:  # noqa: BLE001 - where it was raised cannot be seen from another process
        raise GatewayError(words_of(error)) from None
    pieces, written.pieces = written.pieces, []
    return written, _PACKED(pieces)
