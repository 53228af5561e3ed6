"""Bulk exports: what was asked for, how far it is, and the files it has written, in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from gateway.ports.answers import Shown

ExportState = Literal["begun", "done", "failed", "dropped"]
PartKind = Literal["output", "deleted", "error"]


@dataclass(frozen=True, slots=True)
class Export:
    """A bulk export. ``asked`` and ``cursor`` say what is written and where it goes on: the exporter's own words.

    ``done`` of ``total`` patients are written. ``detail``: why it failed; no personal data. Times are UTC.
    """

    id: str
    client: str
    asked: bytes
    started_at: datetime
    expires_at: datetime
    state: ExportState = "begun"
    cursor: bytes = b""
    done: int = 0
    total: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file. ``body``: ndjson; ``about``: whose it is, in the exporter's own words.

    ``number`` counts within the file. Of ``shown``, ``patient`` is not kept.
    """

    file: int
    number: int
    kind: PartKind
    type: str
    count: int
    about: bytes
    body: bytes
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class PartLine:
    """A part without its content."""

    file: int
    number: int
    kind: PartKind
    type: str
    count: int
    about: bytes


class Exports(Protocol):
    """The exports and their files."""

    def add(self, export: Export) -> None:
        """Add an export."""

    def get(self, id: str) -> Export | None:
        """Return an export that was not dropped; None for what is no id, too."""

    def kept(self, client: str) -> tuple[int, int]:
        """Return how many exports of a client go on and how many there are in all."""

    def waits(self, owner: str, now: datetime) -> bool:
        """Whether there is an export that this owner may write, or something to take away."""

    def claim(self, owner: str, now: datetime, lease: timedelta) -> Export | None:
        """Take the oldest export that goes on and that nobody else writes, or this owner's."""

    def advance(
        self, export: Export, parts: Sequence[Part], owner: str, until: datetime | None, began_at: bytes
    ) -> None:
        """Write parts and how far the export is; ``until`` None: let go of it.

        ``began_at`` is the cursor behind which the parts go on. Raises ``StaleClaim`` when the export was dropped, or
        another writes it.
        """

    def lines(self, id: str) -> Iterator[PartLine]:
        """Yield the parts of every file without their content."""

    def parts(self, id: str, file: int, after: int, limit: int) -> list[Part]:
        """Return the parts of a file behind a number (-1: from the first), in order."""

    def drop(self, id: str) -> None:
        """Forget an export; ``sweep`` takes its files away."""

    def sweep(self, now: datetime, limit: int) -> int:
        """Take away parts of exports that have expired or were dropped and return how many rows went."""
