"""Writes what this version leaves behind in the middle of work, for the tests of the versions after it.

``python -m tests.upgrade.make FOLDER`` plays a third of the year, kills the gateway while recipients have taken in a
delivery and not answered, stores two more messages that nobody translates, and writes the database (SQLite and
PostgreSQL) and what the far ends hold then. Run it once, from the commit of a version, before its schema changes.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from fixtures.story import story
from gateway.fhir import codec
from tests.contracts.waiting import wait_for
from tests.deployment import Deployment
from tests.servers import postgres, rabbitmq

SETTLED = 23
"""Messages that are done with; the next is under way."""

RECEIVED = SETTLED + 3
"""Messages that are stored."""


def main():
    """Write both databases and what the far ends hold."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    os.environ["FHIR_CAPTURE"] = tempfile.mkdtemp()
    with tempfile.TemporaryDirectory() as folder:
        with Deployment(Path(folder)) as unit:
            keep(target / "sqlite.json.gz", codec.encode(leave_in_the_middle(unit)))
        file = Path(folder) / "data" / "gateway.db"
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
            database.execute("PRAGMA journal_mode = DELETE")
        keep(target / "gateway.db.gz", file.read_bytes())
    server = postgres.PostgresServer()
    home = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
    home.chmod(0o755)
    node, running = rabbitmq.start(home)
    try:
        with tempfile.TemporaryDirectory() as folder:
            url = server.database()
            with Deployment(Path(folder), database_url=url, broker_url=node.url) as unit:
                keep(target / "postgres.json.gz", codec.encode(leave_in_the_middle(unit)))
            words = [
                postgres.programs() / "pg_dump",
                "--no-owner",
                "--no-acl",
                "--inserts",
                "--rows-per-insert=100",
                url,
            ]
            dump = subprocess.run(words, capture_output=True, check=True).stdout
            keep(target / "gateway.sql.gz", dump)
    finally:
        rabbitmq.stop(node, running)
        server.remove()


def leave_in_the_middle(unit):
    """Play, kill, store two more; return what each far end holds."""
    year = story()
    unit.play(year[:SETTLED])
    taken = unit.trial_systems.taken
    with unit.trial_systems.silent():
        unit.send(year[SETTLED])
        wait_for(lambda: unit.trial_systems.taken != taken, 30, "a delivery under way")
        unit.kill("gateway")
    unit.restart("gateway", roles=("listen", "api"))
    for message in year[SETTLED + 1 : RECEIVED]:
        unit.send(message)
    unit.kill("gateway")
    return {"received": unit.trial_systems.received, "taken": unit.trial_systems.taken}


def keep(path, content):
    """Write a file as small as it gets, the same bytes for the same content."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main()
