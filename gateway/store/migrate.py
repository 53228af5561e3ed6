"""Is the database of this program's version, were its rows written with these keys, and bringing it up to date."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text

from gateway.errors import KeysMissing, SchemaMismatch
from gateway.model.keys import Keys
from gateway.store.cipher import Cipher
from gateway.store.schema import HEAD, REVISIONS, key_checks

_UPGRADE_LOCK = 0x7472_6961_6C67_7731  # any constant nobody else locks


def revision(connection: Connection) -> str | None:
    """Return the revision a database is at; None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check(connection: Connection) -> None:
    """Raise ``SchemaMismatch`` when the database is not of this program's version."""
    found = revision(connection)
    if found == HEAD:
        return
    if found is None:
        raise SchemaMismatch(f"the database has no tables yet: run `gateway db upgrade` (to {HEAD})")
    if found in REVISIONS:
        raise SchemaMismatch(f"the database is at {found}, older than the program ({HEAD}): run `gateway db upgrade`")
    raise SchemaMismatch(f"the database is at {found}, newer than the program ({HEAD}): install the newer gateway")


def upgrade(connection: Connection, keys: Keys, to: str = HEAD) -> None:
    """Run the migrations that are missing, up to one of them. Two processes at once: the second finds nothing to do.

    Raises ``SchemaMismatch`` when the database is newer than the program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    found = revision(connection)
    if found == to:
        return
    if found is not None and found not in REVISIONS:
        check(connection)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes.update(connection=connection, cipher=Cipher(keys))
    command.upgrade(config, to)


def note_keys(connection: Connection, keys: Keys) -> None:
    """Note by what each key is recognised again; a key noted before must be the same."""
    check_keys(connection, keys)
    known = set(connection.execute(select(key_checks.c.name)).scalars())
    rows = [{"name": name, "check": value} for name, value in _checks(keys).items() if name not in known]
    if rows:
        connection.execute(key_checks.insert(), rows)


def check_keys(connection: Connection, keys: Keys) -> None:
    """Raise ``KeysMissing`` when a key is not the one the database was written with."""
    compare_keys(noted_keys(connection), keys)


def noted_keys(connection: Connection) -> dict[str, bytes]:
    """Return by what each key of the database is recognised, by its name."""
    return {name: bytes(value) for name, value in connection.execute(select(key_checks))}


def compare_keys(noted: Mapping[str, bytes], keys: Keys) -> None:
    """Raise ``KeysMissing`` when a key is not the one that was noted under its name."""
    given = _checks(keys)
    for name, value in noted.items():
        if name in given and not hmac.compare_digest(given[name], value):
            raise KeysMissing(f"the {name} key is not the one this database was written with")


def _checks(keys: Keys) -> dict[str, bytes]:
    named = {"identity": keys.identity, "index": keys.index, "pseudonym": keys.pseudonym, "audit": keys.audit}
    named |= {f"encryption {name}": key for name, key in keys.encryption.items()}
    return {
        name: hmac.digest(key, b"trial gateway key check\x1f" + name.encode(), "sha256") for name, key in named.items()
    }
