"""The tables behind the versions in SQLite: no round trips to save, so each question is asked plainly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from gateway.store.backend import chunks, driver
from gateway.store.faults import translate
from gateway.store.page_tables import ENDLESS, PageRange, Read, TypedRow, VersionRow, holding, noted_of, reading
from gateway.store.pages import PageRow
from gateway.store.types import packed

T = TypeVar("T")

_AMENDED: Final = "json_group_array(json_array(a.change, a.superseded, a.clocks))"
_LAST: Final = "SELECT coalesce(max(page), 0) FROM pages"
_INSERT_PAGES: Final = "INSERT INTO pages (page, first_change, patient, message, body) VALUES (?, ?, ?, ?, ?)"
_INSERT_VERSIONS: Final = "INSERT INTO versions (id, version, change) VALUES (?, ?, ?)"
_INSERT_TYPED: Final = "INSERT INTO typed (type, patient, change, page) VALUES (?, ?, ?, ?)"
_SUPERSEDE: Final = (
    "INSERT INTO amended (change, superseded) SELECT v.change, 1 FROM versions v WHERE v.id = ? AND v.version = ? - 1"
    " ON CONFLICT (change) DO UPDATE SET superseded = 1"
)
_SET_CLOCKS: Final = (
    "INSERT INTO amended (change, superseded, clocks) VALUES (?, 0, ?)"
    " ON CONFLICT (change) DO UPDATE SET clocks = excluded.clocks"
)
_RESOURCE: Final = reading(_AMENDED, holding("SELECT v.change FROM versions v WHERE v.id = ?"))
_MESSAGE: Final = reading(_AMENDED, "p.message = ? ORDER BY p.page")
_NEWEST: Final = "NOT EXISTS (SELECT 1 FROM amended o WHERE o.change = t.change AND o.superseded)"


class SqlitePages:
    """Pages and versions in SQLite."""

    def number(self, connection: Connection, count: int) -> int:
        """Return the number after the last: versions are never deleted and there is one writer."""
        last: int = connection.exec_driver_sql(_LAST).scalar_one()
        return last + 1

    def insert(self, connection: Connection, pages: Sequence[PageRow], versions: Sequence[VersionRow]) -> None:
        """Insert rows. Raises ``VersionConflict`` when a version exists already."""
        kept = [(page, first, packed(patient), message, body) for page, first, patient, message, body in pages]
        connection.exec_driver_sql(_INSERT_PAGES, kept)
        placed = [(packed(id), version, change) for id, version, change in versions]
        connection.exec_driver_sql(_INSERT_VERSIONS, placed)

    def insert_typed(self, connection: Connection, rows: Sequence[TypedRow]) -> None:
        """Insert rows of ``typed``."""
        placed = [(type, packed(patient), change, page) for type, patient, change, page in rows]
        connection.exec_driver_sql(_INSERT_TYPED, placed)

    def supersede(self, connection: Connection, newer: Sequence[VersionRow]) -> None:
        """Note of the version before each of these that it is no longer the newest."""
        connection.exec_driver_sql(_SUPERSEDE, [(packed(id), version) for id, version, _ in newer])

    def set_clocks(self, connection: Connection, clocks: Mapping[int, str]) -> None:
        """Note other clocks of versions: change -> JSON."""
        connection.exec_driver_sql(_SET_CLOCKS, list(clocks.items()))

    def of_heads(self, connection: Connection, ids: Sequence[str]) -> Iterable[Read]:
        """Return the pages that hold the newest version of each of these resources."""
        found: dict[int, Read] = {}
        for some in chunks(ids):
            asked = _filled(some)
            found.update((row[0], row) for row in _read(connection, _heads(len(asked)), asked))
        return found.values()

    def of_resource(self, connection: Connection, id: str) -> Iterable[Read]:
        """Return the pages that hold a version of a resource."""
        return _read(connection, _RESOURCE, (packed(id),))

    def of_versions(self, connection: Connection, wanted: Sequence[tuple[str, int]]) -> Iterable[Read]:
        """Return the pages that hold these versions, given by id and version."""
        found: dict[int, Read] = {}
        for some in chunks(wanted):
            asked = [(packed(id), version) for id, version in some]
            asked = _padded(asked, asked[-1])
            found.update((row[0], row) for row in _read(connection, _numbered(len(asked)), tuple(chain(*asked))))
        return found.values()

    def of_message(self, connection: Connection, message: int) -> Iterable[Read]:
        """Return the pages a message wrote, ascending."""
        return _read(connection, _MESSAGE, (message,))

    def of_type(self, connection: Connection, types: Sequence[str], patients: Sequence[str] | None) -> Iterable[Read]:
        """Return the pages with the newest version of each resource of these types, of these patients when given."""
        if patients is None:
            return _read(connection, _typed(len(types), 0), tuple(types))
        found: dict[int, Read] = {}
        for some in chunks(patients):
            asked = _filled(some)
            query = _typed(len(types), len(asked))
            found.update((row[0], row) for row in _read(connection, query, (*types, *asked)))
        return found.values()

    def of_ranges(self, connection: Connection, ranges: Sequence[PageRange]) -> list[list[Read]]:
        """Return the pages of each range, ascending."""
        found: list[list[Read]] = [[] for _ in ranges]
        for most in {asked.most for asked in ranges}:
            alike = [(place, *asked[:3]) for place, asked in enumerate(ranges) if asked.most == most]
            for some in chunks([(place, packed(patient), after, upto) for place, patient, after, upto in alike]):
                asked = _padded(some, (0, b"", ENDLESS, 0))
                query = _ranges(len(asked))
                for page, body, noted, place in _read(connection, query, (*chain(*asked), most - 1)):
                    found[place].append((page, body, noted))
        return found


def _read(connection: Connection, query: str, values: Sequence[Any]) -> list[Any]:
    """Return the rows of a query, past the toolkit, which takes longer over it than the database."""
    try:
        return driver(connection).execute(query, values).fetchall()  # type: ignore[no-any-return]  # the driver's own
    except sqlite3.Error as error:
        raise translate(error) from None


def _padded(values: Sequence[T], last: T) -> list[T]:
    """Return values with one repeated at the end up to a power of two: few statements to prepare."""
    return [*values, *[last] * ((1 << (len(values) - 1).bit_length()) - len(values))]


def _filled(ids: Sequence[str]) -> tuple[bytes, ...]:
    """Return the ids as they stand in columns."""
    found = [packed(id) for id in ids]
    return tuple(_padded(found, found[-1]))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@cache
def _numbered(versions: int) -> str:
    listed = ", ".join(["(?, ?)"] * versions)
    wanted = "v.id = n.column1 AND v.version = n.column2"
    return reading(_AMENDED, holding(f"SELECT v.change FROM (VALUES {listed}) n JOIN versions v ON {wanted}"))  # noqa: S608


@cache
def _ranges(ranges: int) -> str:
    listed = ", ".join(["(?, ?, ?, ?)"] * ranges)
    inside = "{0}.patient = s.column2 AND {0}.page > s.column3 AND {0}.first_change <= s.column4".format
    last = f"SELECT q.page FROM pages q WHERE {inside('q')} ORDER BY q.page LIMIT 1 OFFSET ?"  # noqa: S608
    return (
        f"SELECT p.page, p.body, ({noted_of(_AMENDED)}) AS noted, s.column1 FROM (VALUES {listed}) s"  # noqa: S608
        f" CROSS JOIN pages p ON {inside('p')} AND p.page <= coalesce(({last}), {ENDLESS}) ORDER BY s.column1, p.page"
    )


@cache
def _heads(ids: int) -> str:
    among = f"v.id IN ({_marks(ids)})"
    return reading(_AMENDED, holding(f"SELECT max(v.change) AS change FROM versions v WHERE {among} GROUP BY v.id"))  # noqa: S608


@cache
def _typed(types: int, patients: int) -> str:
    of_patients = f" AND t.patient IN ({_marks(patients)})" if patients else ""
    typed = f"SELECT t.page FROM typed t WHERE t.type IN ({_marks(types)}){of_patients} AND {_NEWEST}"  # noqa: S608
    return reading(_AMENDED, f"p.page IN ({typed})")
