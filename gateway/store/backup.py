"""Backups of the whole database, taken while it is in use and put into an empty place.

A backup is a folder with the files of ``gateway.store.copies`` and ``manifest.json``, which is written last: a folder
without it is not a backup. Bodies stand in it encrypted, as in the database; the keys are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, inspect, select

from gateway import __version__
from gateway.errors import BackupError
from gateway.model.keys import Keys
from gateway.ports import Backup
from gateway.store import migrate
from gateway.store.backend import Backend
from gateway.store.copies import copy_postgres, copy_sqlite, fill_postgres, fill_sqlite
from gateway.store.schema import deliveries, lanes, leases, messages, processes

MANIFEST: Final = "manifest.json"

_NEW_IDS: Final = 1_000_000
"""By how much the numbers of deliveries grow when a backup is put back: an id promises its content, and those that
were given out after the backup was taken are known to recipients with other content."""


def take(backend: Backend, folder: Path, now: datetime) -> Backup:
    """Copy the database into a folder, empty or new.

    Raises ``BackupError`` when the folder is not empty, ``StoreUnavailable`` when the database does not answer.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupError(f"{folder}: is not empty; name a folder of its own for each backup")
    kind = backend.reader.dialect.name
    with backend.reader.connect() as opened:
        one_moment = {"isolation_level": "REPEATABLE READ"} if kind == "postgresql" else {}
        connection = opened.execution_options(**one_moment)
        with connection.begin():
            count, newest = connection.execute(
                select(func.count(), func.max(messages.c.received_at)).select_from(messages)
            ).one()
            revision, keys = migrate.revision(connection), migrate.noted_keys(connection)
            columns = copy_postgres(connection, folder) if kind == "postgresql" else copy_sqlite(connection, folder)
    manifest = {
        "program": __version__,
        "kind": kind,
        "revision": revision,
        "taken_at": now.isoformat(),
        "messages": count,
        "newest": newest.isoformat() if newest else None,
        "keys": {name: value.hex() for name, value in keys.items()},
        "columns": columns,
        "files": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    _write_last(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    return _backup(manifest)


def put(backend: Backend, folder: Path, keys: Keys, now: datetime) -> Backup:
    """Put a backup into an empty database, bring it up to this program's version and free what was under way.

    Raises ``BackupError`` when the folder is no whole backup, or of another kind of database, or when the database is
    not empty; ``KeysMissing`` when the keys are not those it was written with. Nothing is changed then.
    """
    manifest = _checked(folder)
    migrate.compare_keys({name: bytes.fromhex(value) for name, value in manifest["keys"].items()}, keys)
    kind = backend.writer.dialect.name
    if manifest["kind"] != kind:
        raise BackupError(f"{folder}: is of {manifest['kind']}, the configuration names {kind}")
    with backend.turn():
        with backend.reader.begin() as connection:
            if inspect(connection).get_table_names():
                raise BackupError("the database is not empty: name a new one, or move the old one away")
        if kind == "sqlite":
            with backend.writer.connect() as connection:
                fill_sqlite(connection, folder)
        with backend.writer.begin() as connection:
            if kind == "postgresql":
                migrate.upgrade(connection, keys, to=manifest["revision"])
                fill_postgres(connection, folder, manifest["columns"])
            migrate.upgrade(connection, keys)
            _free(connection, now)
    return _backup(manifest)


def _free(connection: Connection, now: datetime) -> None:
    """Let go of what the processes of then had, and give out other delivery ids than they did."""
    connection.execute(deliveries.update().values(number=deliveries.c.number + _NEW_IDS))
    connection.execute(deliveries.update().where(deliveries.c.state == "sending").values(lease_until=now))
    connection.execute(lanes.update().values(owner=None, lease_until=None, epoch=lanes.c.epoch + 1))
    connection.execute(processes.delete())
    connection.execute(leases.delete())


def _checked(folder: Path) -> dict[str, Any]:
    """Return the manifest of a backup whose files are all there as they were written. Raises ``BackupError``."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        raise BackupError(f"{folder}: is no backup, or one that was interrupted: it has no {MANIFEST}") from None
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file():
            raise BackupError(f"{folder / name}: is missing from the backup")
        if _digest(folder / name) != digest:
            raise BackupError(f"{folder / name}: is not what was written into the backup")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_last(path: Path, content: bytes) -> None:
    """Write a file once everything beside it has reached the disk."""
    for other in path.parent.iterdir():
        _sync(other)
    path.touch(0o600)
    path.write_bytes(content)
    _sync(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _backup(manifest: dict[str, Any]) -> Backup:
    newest = manifest["newest"]
    return Backup(
        program=manifest["program"],
        taken_at=datetime.fromisoformat(manifest["taken_at"]),
        messages=manifest["messages"],
        newest=datetime.fromisoformat(newest) if newest else None,
    )
