"""The tables behind the versions: ``pages``, ``versions`` (id -> change), ``typed`` and ``amended``.

Plain rows of the driver: what a page holds says everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sqlalchemy import Connection

from gateway.store.pages import PageRow

ENDLESS: Final = 2**63 - 1

Read = tuple[int, bytes, str | None]
"""A page as it is read: its number, its body, and what was amended of it: JSON of [change, superseded, clocks]."""

VersionRow = tuple[str, int, int]
"""A row of ``versions``: id, version, change."""

TypedRow = tuple[str, str, int, int]
"""A row of ``typed``: type, patient, change, page."""


class PageRange(NamedTuple):
    """Which pages of a patient are asked for: those with a change in ``after`` < change <= ``upto``, the first ones."""

    patient: str
    after: int
    upto: int
    most: int


class PageTables(Protocol):
    """What is asked of these tables, in one kind of database."""

    def number(self, connection: Connection, count: int) -> int:
        """Draw ``count`` change numbers that follow each other (``STRIDE`` at most), above all drawn before.

        Return the first.
        """

    def insert(self, connection: Connection, pages: Sequence[PageRow], versions: Sequence[VersionRow]) -> None:
        """Insert rows. Raises ``VersionConflict`` when a version exists already."""

    def insert_typed(self, connection: Connection, rows: Sequence[TypedRow]) -> None:
        """Insert rows of ``typed``."""

    def supersede(self, connection: Connection, newer: Sequence[VersionRow]) -> None:
        """Note of the version before each of these that it is no longer the newest."""

    def set_clocks(self, connection: Connection, clocks: Mapping[int, str]) -> None:
        """Note other clocks of versions: change -> JSON."""

    def of_heads(self, connection: Connection, ids: Sequence[str]) -> Iterable[Read]:
        """Return the pages that hold the newest version of each of these resources."""

    def of_resource(self, connection: Connection, id: str) -> Iterable[Read]:
        """Return the pages that hold a version of a resource."""

    def of_versions(self, connection: Connection, wanted: Sequence[tuple[str, int]]) -> Iterable[Read]:
        """Return the pages that hold these versions, given by id and version."""

    def of_message(self, connection: Connection, message: int) -> Iterable[Read]:
        """Return the pages a message wrote, ascending."""

    def of_type(self, connection: Connection, types: Sequence[str], patients: Sequence[str] | None) -> Iterable[Read]:
        """Return the pages with the newest version of each resource of these types, of these patients when given."""

    def of_ranges(self, connection: Connection, ranges: Sequence[PageRange]) -> list[list[Read]]:
        """Return the pages of each range, ascending."""


def reading(amended: str, where: str) -> str:
    """Return the SELECT of pages ``p`` with what was amended of each; ``amended`` makes JSON of rows ``a``."""
    return f"SELECT p.page, p.body, ({noted_of(amended)}) AS noted FROM pages p WHERE {where}"  # noqa: S608 - our own words


def noted_of(amended: str) -> str:
    """Return the SELECT of what was amended of a page ``p``."""
    return f"SELECT {amended} FROM amended a WHERE a.change BETWEEN p.first_change AND p.page"  # noqa: S608 - our words


def holding(changes: str) -> str:
    """Return the condition on pages ``p`` to hold one of the changes that a SELECT yields as ``change``."""
    return f"p.page IN (SELECT (SELECT min(q.page) FROM pages q WHERE q.page >= x.change) FROM ({changes}) x)"  # noqa: S608
