"""A private PostgreSQL for the tests: its own folder, a free port, gone afterwards. Never one that happens to run."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.servers.ports import free_port

MISSING = "PostgreSQL's initdb and postgres are not installed: run `make services`"
PATIENCE = 240.0


def programs() -> Path:
    """Return the folder with ``initdb`` and ``postgres``, the newest of the installed ones."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.fail(MISSING, pytrace=False)


def server_user() -> pwd.struct_passwd | None:
    """Return whom the server runs as when we are root, which it refuses to be; None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.fail("running as root, and there is no user `postgres` or `nobody` to run PostgreSQL as", pytrace=False)


class PostgresServer:
    """One server. ``url(name)`` makes an empty database and says where it is."""

    def __init__(self) -> None:
        self._bin = programs()
        self._user = server_user()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-pg-", dir="/tmp" if self._user else None))
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._names = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._initialise()
        self.start()

    def database(self, template: str = "template0") -> str:
        """Make a database, empty or a copy of another (named, or by its URL), and return its URL."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template.rpartition("/")[2]}"')
        return f"postgresql://gateway@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start, or start again on the same port, and return when it answers."""
        arguments = [
            self._bin / "postgres",
            *("-D", self._data, "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1"),
            *("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=200"),
        ]
        with self._log.open("ab") as log:
            self._server = self._spawn(arguments, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._server.poll() is not None:
                break
            with suppress(psycopg.OperationalError), psycopg.connect(self._dsn("postgres"), connect_timeout=2):
                return
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL did not start:\n{self._log.read_text(errors='replace')[-2000:]}", pytrace=False)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop: politely, or like a crash."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._server.wait(PATIENCE)
            self._server = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop(at_once=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=gateway dbname={database}"

    def _initialise(self) -> None:
        arguments = [
            self._bin / "initdb",
            *("-D", self._data, "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"),
        ]
        with self._log.open("ab") as log:
            if self._spawn(arguments, stdout=log, stderr=log).wait(PATIENCE):
                pytest.fail(f"initdb failed:\n{self._log.read_text(errors='replace')[-2000:]}", pytrace=False)

    def _spawn(self, arguments: list[object], *, stdout: object, stderr: object) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        identity = {}
        if self._user:
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=self.folder,
            env=kept | {"LC_ALL": "C", "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **identity,
        )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database of this test's own."""
    return postgres_server.database()


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes an empty database at each call and returns its URL."""
    return postgres_server.database
