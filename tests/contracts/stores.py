"""Stores for the contract tests, one kind of database after the other, and builders of what goes into them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from gateway.model.delivery import Attempt, ChangeKind, ManifestEntry, View
from gateway.model.keys import Keys
from gateway.model.message import Incoming, MessageState
from gateway.model.resource import ResourceVersion
from gateway.store import create_store
from gateway.store.schema import metadata
from gateway.store.store import SqlStore
from tests.servers.postgres import PostgresServer

NOW = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
KEYS = Keys(
    identity=b"i" * 32,
    index=b"x" * 32,
    pseudonym=b"p" * 32,
    audit=b"a" * 32,
    encryption={"k1": b"e" * 32},
    active="k1",
)
VIEW = View("edc", "mld-01")


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (IsADirectoryError, FileNotFoundError):  # the server tidies up beside us
        return b""


class Database:
    """One database of one test. Stores opened through it are closed after the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[SqlStore] = []

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def open(self, keys: Keys = KEYS, **options: object) -> SqlStore:
        self._open.append(create_store(self.url, keys, **options))
        return self._open[-1]

    def close(self) -> None:
        for store in self._open:
            store.close()
        self._open.clear()

    def again(self, keys: Keys = KEYS) -> SqlStore:
        """Close and open again, as a restart does."""
        self.close()
        return self.open(keys)

    def bytes_on_disk(self) -> bytes:
        """Return every byte of the database's files."""
        if self.is_sqlite:
            path = Path(self.url.removeprefix("sqlite:///"))
            return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            folder = connection.execute(
                "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone()
        return b"".join(map(_bytes_of, Path(folder[0]).iterdir()))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without a table, of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'gateway.db'}"
    else:
        url = request.getfixturevalue("postgres_server").database()
    database = Database(url)
    yield database
    database.close()


def upgraded(url: str) -> str:
    """Give an empty database its tables."""
    store = create_store(url, KEYS)
    store.upgrade()
    store.close()
    return url


@cache
def _empty_file() -> bytes:
    """A SQLite file with every table and no rows, made once: much faster than making the tables again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        upgraded(f"sqlite:///{path}")
        return path.read_bytes()


def empty_file(folder: Path) -> str:
    """Write a database with every table and no rows into a folder; return its URL. Its keys are ``KEYS``."""
    path = Path(folder) / "gateway.db"
    path.write_bytes(_empty_file())
    path.chmod(0o600)
    return f"sqlite:///{path}"


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqlStore]:
    """A store on SQLite with every table and no rows."""
    made = create_store(empty_file(tmp_path), KEYS)
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgres_template(new_postgres_database: Callable[[], str]) -> str:
    """A database with every table that nobody writes to."""
    return upgraded(new_postgres_database())


@pytest.fixture(scope="session")
def used_postgres(postgres_server: PostgresServer, postgres_template: str) -> str:
    """A database with every table that one test after the other writes to."""
    return postgres_server.database(postgres_template)


def emptied(url: str) -> str:
    """Take every row away and count from 1 again: much faster than another database."""
    with psycopg.connect(url) as connection:
        for table in metadata.sorted_tables:
            if table.name not in {"lanes", "key_checks"}:
                connection.execute(f"DELETE FROM {table.name}")
        connection.execute("UPDATE lanes SET owner = NULL, lease_until = NULL, epoch = 0")
        connection.execute("SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with every table and no rows, of each kind."""
    if request.param == "sqlite":
        found = Database(empty_file(tmp_path))
    else:
        found = Database(emptied(request.getfixturevalue("used_postgres")))
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> SqlStore:
    return database.open()


def uid(number: int) -> str:
    """Return an internal id."""
    return str(UUID(int=(5 << 76) | (2 << 62) | number))


def incoming(control_id: str = "M1", **changed: object) -> Incoming:
    """Return a message that is to be stored; its content follows its control id unless given."""
    raw = changed.get("raw", f"MSH|^~\\&|LAB|||||ORU^R01|{control_id}|P|2.5.1\r".encode("utf-8", "replace"))
    message = Incoming(
        feed="lab",
        site="milan",
        control_id=control_id,
        message_type="ORU^R01",
        lane=7,
        received_at=NOW,
        raw=raw,
        digest=hashlib.sha256(raw).digest(),
        state=MessageState.STORED,
        acknowledgment=f"MSA|AA|{control_id}".encode("utf-8", "replace"),
        positive=True,
        answer_conflict=lambda: f"MSA|AE|{control_id}".encode("utf-8", "replace"),
    )
    return replace(message, **changed)


def version(number: int, of: int = 1, **changed: object) -> ResourceVersion:
    """Return a version of an Observation of patient 900."""
    one = ResourceVersion(
        type="Observation",
        id=uid(number),
        version=of,
        body=f'{{"resourceType":"Observation","id":"{uid(number)}","value":{of}.50}}'.encode(),
        message=1,
        stored_at=NOW,
        patient=uid(900),
        clocks={"": (0, "2026-03-02T09:00:00Z", 1)},
        code="http://loinc.org|718-7",
        date=NOW,
        status="final",
    )
    return one.but(**changed)


def attempt(delivery: int, outcome: str = "accepted", *carried: int, **changed: object) -> Attempt:
    """Return an attempt that carried version 1 of these resources."""
    manifest = tuple(ManifestEntry("Observation", uid(number), 1, ChangeKind.CREATED) for number in carried)
    one = Attempt(delivery, 1, NOW, NOW + SECOND, outcome, "HTTP 200", 10, manifest)
    return replace(one, **changed)
