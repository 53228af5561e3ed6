"""Pages: the versions that one message wrote for one patient, packed and encrypted together.

A page is the msgpack list of its ``ResourceVersion`` in the order of their changes, packed and sealed as one value.
Its number is the change of its last version; pages never overlap, so the page of a change is the first whose number is
not below it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from threading import Lock
from typing import Final, NamedTuple

from msgspec import msgpack

from gateway.model.resource import ResourceVersion
from gateway.store.cipher import Cipher
from gateway.store.schema import TYPED
from gateway.store.types import storable

MOST: Final = 128
"""Versions of a page at most: who wants one of them opens it whole."""

_ENCODER: Final = msgpack.Encoder()
_DECODER: Final = msgpack.Decoder(list[ResourceVersion])


class PageRow(NamedTuple):
    """A row of ``pages``."""

    page: int
    first: int
    patient: str
    message: int
    body: bytes


def paged(cipher: Cipher, versions: Sequence[ResourceVersion]) -> Iterator[PageRow]:
    """Yield the pages of versions that carry their change numbers, ascending without a gap that others could fill.

    Raises ``ValueError`` for a moment without a time zone.
    """
    for (patient, message, _), run in groupby(versions, _run):
        while some := list(islice(run, MOST)):
            last = some[-1].change
            yield PageRow(last, some[0].change, patient, message, cipher.seal(_encoded(some), page_place(last)))


def opened(cipher: Cipher, page: int, body: bytes) -> list[ResourceVersion]:
    """Return the versions of a page."""
    return _DECODER.decode(cipher.open(body, page_place(page)))


class Opened:
    """The pages opened last: those of a patient are asked for again and again. Safe from any thread.

    A page stands for what was opened as long as it is the same to the byte.
    """

    def __init__(self, most: int = 4096) -> None:
        """Keep so many versions at most."""
        self._most = most
        self._count = 0
        self._pages: OrderedDict[int, tuple[bytes, tuple[ResourceVersion, ...]]] = OrderedDict()
        self._lock = Lock()

    def versions(self, cipher: Cipher, page: int, body: bytes) -> tuple[ResourceVersion, ...]:
        """Return the versions of a page."""
        kept = self._pages.get(page)
        if kept is not None and kept[0] == body:
            return kept[1]
        versions = tuple(opened(cipher, page, body))
        with self._lock:
            self._count += len(versions) - len(self._pages.pop(page, (b"", ()))[1])
            self._pages[page] = (body, versions)
            while self._count > self._most:
                self._count -= len(self._pages.popitem(last=False)[1][1])
        return versions


def page_place(page: int) -> bytes:
    """Return the associated data of one page's encrypted value."""
    return b"pages.body|%d" % page


def _run(version: ResourceVersion) -> tuple[str, int, bool]:
    """What the versions of a page have in common. Types that are read again and again have pages of their own."""
    return version.patient, version.message, version.type in TYPED


def _encoded(versions: list[ResourceVersion]) -> bytes:
    for version in versions:
        if version.stored_at.tzinfo is None or (version.date is not None and version.date.tzinfo is None):
            raise ValueError("a moment without a time zone cannot be stored")
    try:
        return _ENCODER.encode(versions)
    except UnicodeEncodeError:
        return _ENCODER.encode([_storable(version) for version in versions])


def _storable(version: ResourceVersion) -> ResourceVersion:
    texts = {name: storable(getattr(version, name)) for name in ("code", "status", "held")}
    return version.but(**texts)
