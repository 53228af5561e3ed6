"""The tables behind the versions in PostgreSQL: COPY in, lists as array literals, one round trip for each question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from gateway.store.faults import translate
from gateway.store.page_tables import PageRange, Read, TypedRow, VersionRow, holding, reading
from gateway.store.pages import PageRow
from gateway.store.types import NOBODY, packed

_AMENDED: Final = "CAST(json_agg(json_build_array(a.change, a.superseded, a.clocks)) AS text)"
_NUMBER: Final = "SELECT nextval('changes')"
_COPY_PAGES: Final = "COPY pages (page, first_change, patient, message, body) FROM STDIN (FORMAT BINARY)"
_COPY_VERSIONS: Final = "COPY versions (id, version, change) FROM STDIN (FORMAT BINARY)"
_INSERT_TYPED: Final = "INSERT INTO typed (type, patient, change, page) VALUES (%s, %s, %s, %s)"
_SUPERSEDE: Final = (
    "INSERT INTO amended (change, superseded) SELECT v.change, true"
    " FROM unnest(CAST(%s AS uuid[]), CAST(%s AS int[])) AS n (id, version)"
    " JOIN versions v ON v.id = n.id AND v.version = n.version - 1 ORDER BY v.change"
    " ON CONFLICT (change) DO UPDATE SET superseded = true"
)
_SET_CLOCKS: Final = (
    "INSERT INTO amended (change, superseded, clocks) SELECT n.change, false, n.clocks"
    " FROM unnest(CAST(%s AS bigint[]), CAST(%s AS text[])) AS n (change, clocks) ORDER BY n.change"
    " ON CONFLICT (change) DO UPDATE SET clocks = excluded.clocks"
)
_HEADS: Final = reading(
    _AMENDED,
    holding("SELECT max(v.change) AS change FROM versions v WHERE v.id = ANY(CAST(%s AS uuid[])) GROUP BY v.id"),
)
_RESOURCE: Final = reading(_AMENDED, holding("SELECT v.change FROM versions v WHERE v.id = CAST(%s AS uuid)"))
_VERSIONS: Final = reading(
    _AMENDED,
    holding(
        "SELECT v.change FROM unnest(CAST(%s AS uuid[]), CAST(%s AS int[])) AS n (id, version)"
        " JOIN versions v ON v.id = n.id AND v.version = n.version"
    ),
)
_MESSAGE: Final = reading(_AMENDED, "p.message = %s ORDER BY p.page")
_NEWEST: Final = "NOT EXISTS (SELECT 1 FROM amended o WHERE o.change = t.change AND o.superseded)"
_OF_TYPE: Final = f"SELECT t.page FROM typed t WHERE {_NEWEST} AND t.type = ANY(CAST(%s AS text[]))"  # noqa: S608
_TYPE: Final = reading(_AMENDED, f"p.page IN ({_OF_TYPE})")
_TYPE_OF: Final = reading(_AMENDED, f"p.page IN ({_OF_TYPE} AND t.patient = ANY(CAST(%s AS uuid[])))")
_RANGE: Final = reading(_AMENDED, "p.patient = s.patient AND p.page > s.after AND p.first_change <= s.upto")
_RANGES: Final = (
    "SELECT r.page, r.body, r.noted, s.n"  # noqa: S608 - our own words
    " FROM unnest(CAST(%s AS uuid[]), CAST(%s AS bigint[]), CAST(%s AS bigint[]), CAST(%s AS bigint[]))"
    " WITH ORDINALITY AS s (patient, after, upto, most, n)"
    f" CROSS JOIN LATERAL ({_RANGE} ORDER BY p.page LIMIT s.most) r ORDER BY s.n, r.page"
)

_BEGIN: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END: Final = b"\xff\xff"
_VERSION: Final = Struct("!hi16siiiq").pack
_PAGE: Final = Struct("!hiqiqi16siqi").pack


class PostgresPages:
    """Pages and versions in PostgreSQL."""

    def number(self, connection: Connection, count: int) -> int:
        """Draw change numbers that follow each other; the patients' locks are held already, so they ascend for each."""
        first: int = connection.exec_driver_sql(_NUMBER).scalar_one()
        return first

    def insert(self, connection: Connection, pages: Sequence[PageRow], versions: Sequence[VersionRow]) -> None:
        """Copy rows in the server's own format. Raises ``VersionConflict`` when a version exists already."""
        _copy(connection, _COPY_PAGES, map(_page, pages))
        _copy(connection, _COPY_VERSIONS, map(_version, versions))

    def insert_typed(self, connection: Connection, rows: Sequence[TypedRow]) -> None:
        """Insert rows of ``typed``."""
        named = [(type, patient or NOBODY, change, page) for type, patient, change, page in rows]
        connection.exec_driver_sql(_INSERT_TYPED, named)

    def supersede(self, connection: Connection, newer: Sequence[VersionRow]) -> None:
        """Note of the version before each of these that it is no longer the newest."""
        asked = _array(id for id, _, _ in newer), _array(version for _, version, _ in newer)
        connection.exec_driver_sql(_SUPERSEDE, asked)

    def set_clocks(self, connection: Connection, clocks: Mapping[int, str]) -> None:
        """Note other clocks of versions: change -> JSON."""
        connection.exec_driver_sql(_SET_CLOCKS, (_array(clocks), list(clocks.values())))

    def of_heads(self, connection: Connection, ids: Sequence[str]) -> Iterable[Read]:
        """Return the pages that hold the newest version of each of these resources."""
        return _rows(connection.exec_driver_sql(_HEADS, (_array(ids),)))

    def of_resource(self, connection: Connection, id: str) -> Iterable[Read]:
        """Return the pages that hold a version of a resource."""
        return _rows(connection.exec_driver_sql(_RESOURCE, (id,)))

    def of_versions(self, connection: Connection, wanted: Sequence[tuple[str, int]]) -> Iterable[Read]:
        """Return the pages that hold these versions, given by id and version."""
        asked = _array(id for id, _ in wanted), _array(version for _, version in wanted)
        return _rows(connection.exec_driver_sql(_VERSIONS, asked))

    def of_message(self, connection: Connection, message: int) -> Iterable[Read]:
        """Return the pages a message wrote, ascending."""
        return _rows(connection.exec_driver_sql(_MESSAGE, (message,)))

    def of_type(self, connection: Connection, types: Sequence[str], patients: Sequence[str] | None) -> Iterable[Read]:
        """Return the pages with the newest version of each resource of these types, of these patients when given."""
        if patients is None:
            return _rows(connection.exec_driver_sql(_TYPE, (_array(types),)))
        return _rows(connection.exec_driver_sql(_TYPE_OF, (_array(types), _patients(patients))))

    def of_ranges(self, connection: Connection, ranges: Sequence[PageRange]) -> list[list[Read]]:
        """Return the pages of each range, ascending: one round trip for all."""
        patients, after, upto, most = zip(*ranges, strict=True)
        asked = _patients(patients), _array(after), _array(upto), _array(most)
        found: list[list[Read]] = [[] for _ in ranges]
        for page, body, noted, place in connection.exec_driver_sql(_RANGES, asked):
            found[place - 1].append((page, body, noted))
        return found


def _rows(found: Any) -> list[Read]:
    """Return a result's rows as the driver gave them."""
    return [tuple(row) for row in found]


def _array(values: Iterable[object]) -> str:
    """Return an array literal of numbers, ids or type names: nothing in them needs quoting."""
    return "{" + ",".join(map(str, values)) + "}"


def _patients(patients: Iterable[str]) -> str:
    return _array(patient or NOBODY for patient in patients)


def _copy(connection: Connection, statement: str, rows: Iterable[bytes]) -> None:
    """Copy rows in PostgreSQL's binary format (manual, COPY): several times as fast as values one by one."""
    try:
        with connection.connection.cursor().copy(statement) as copy:
            copy.write(_BEGIN + b"".join(rows) + _END)
    except psycopg.Error as error:
        raise translate(error) from None


def _version(row: VersionRow) -> bytes:
    id, version, change = row
    return _VERSION(3, 16, packed(id), 4, version, 8, change)


def _page(row: PageRow) -> bytes:
    page, first, patient, message, body = row
    return _PAGE(5, 8, page, 8, first, 16, packed(patient), 8, message, len(body)) + body
