"""The content of a database as files, each kind of database in its own form.

An SQLite file is copied page by page; of a PostgreSQL database each table becomes ``<table>.copy`` (COPY in its binary
form). Either is what the database held at one moment, while others go on writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from psycopg import Error, sql
from sqlalchemy import Connection, inspect, text

from gateway.store.faults import translate
from gateway.store.schema import changes, metadata

DATABASE: Final = "gateway.db"
_SERIALS: Final = text(
    "SELECT table_name, column_name, pg_get_serial_sequence(table_name, column_name) AS name"
    " FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'"
)
_BYTES: Final = 1024 * 1024

Columns = dict[str, list[str]]
"""Table -> its columns, in the order in which they stand in the file."""


def copy_sqlite(connection: Connection, folder: Path) -> Columns:
    """Copy an SQLite file in one read transaction."""
    target = folder / DATABASE
    target.touch(0o600)
    with closing(sqlite3.connect(target)) as copy:
        _driver(connection).backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    return {}


def fill_sqlite(connection: Connection, folder: Path) -> None:
    """Make a database file what its copy is."""
    with closing(sqlite3.connect(f"{(folder / DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as copy:
        copy.backup(_driver(connection))


def copy_postgres(connection: Connection, folder: Path) -> Columns:
    """Copy every table; ``connection`` is in a transaction that sees one moment (REPEATABLE READ)."""
    found = inspect(connection)
    known = found.get_table_names()
    names = [table.name for table in metadata.sorted_tables if table.name in known]
    columns = {name: [column["name"] for column in found.get_columns(name)] for name in names}
    try:
        for name in names:
            path = folder / f"{name}.copy"
            path.touch(0o600)
            with path.open("wb") as file, _driver(connection).cursor().copy(_copy_out(name, columns[name])) as copy:
                for piece in copy:
                    file.write(piece)
    except Error as error:
        raise translate(error) from None
    return columns


def fill_postgres(connection: Connection, folder: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Fill the tables of a database at the copy's revision; rows that its migrations made give way."""
    try:
        for name, names in columns.items():
            connection.execute(metadata.tables[name].delete())
            with (
                (folder / f"{name}.copy").open("rb") as file,
                _driver(connection).cursor().copy(_copy_in(name, names)) as copy,
            ):
                while piece := file.read(_BYTES):
                    copy.write(piece)
    except Error as error:
        raise translate(error) from None
    _count_on(connection)


def _count_on(connection: Connection) -> None:
    """Let the sequences go on above what the tables hold."""
    counted = [(row.name, row.table_name, row.column_name) for row in connection.execute(_SERIALS)]
    counted.append((changes.name, "pages", "page"))
    for sequence, table, column in counted:
        newest = f'SELECT greatest(coalesce(max("{column}"), 0), 1) FROM "{table}"'  # noqa: S608 (names of the schema)
        connection.execute(text(f"SELECT setval(:sequence, ({newest}))"), {"sequence": sequence})


def _copy_out(table: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) TO STDOUT (FORMAT BINARY)").format(sql.Identifier(table), _listed(columns))


def _copy_in(table: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table), _listed(columns))


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
