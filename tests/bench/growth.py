"""What a message costs when a thousand are stored and when a million are: MLLP to delivered HTTP.

``python -m tests.bench growth``; BENCH_GROWTH (sqlite, postgres), _COPIES and _RUNS make it shorter. A thousand results
of 300 patients go through the real processes; a second database gets a thousand times what they left (``bulk``). Then
the same messages go to both in turn, a few times: half for patients known since long, half for new ones, enrolled
just before. Every patient has one message in a round, and a round begins when everything of the one before is
delivered: so each message is a delivery of its own in both, however fast the one or the other is. Compared is the CPU
time of the gateway's processes and of PostgreSQL's (all of them, checkpoints included). The small database begins anew
each time, the big one grows on. 25 GB of disk are needed, and as much memory to spare, or reading from the disk is
measured.

PostgreSQL makes its checkpoints when it wants to, every five minutes. As many messages go before those that count, and
still about ten blocks a message are logged whole in the big database (``server.blocks``), as at forty messages a
second; a gateway that is busier pays for fewer.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from adapters.hospital.client import Target, send
from tests.bench import bulk
from tests.bench.figures import OBSERVATIONS, message, report
from tests.bench.sink import far_end
from tests.bench.unit import DIVIDED, EMBEDDED, TICK, Unit
from tests.bench.whole import accepted, broker, enrol
from tests.servers.postgres import PostgresServer

COPIES = int(os.environ.get("BENCH_COPIES", "1000"))
SEED = 1000
SEED_RATE = 100
"""Messages a second of the seed: slow enough that most have a delivery of their own."""
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
PATIENTS = 300
WARMING = 15
"""Rounds before those that count."""
ROUNDS = 15
CONNECTIONS = 8
KNOWN = PATIENTS // RUNS
"""Of each run, and as many new ones."""
MESSAGES = ROUNDS * 2 * KNOWN
FIRST = 100_000
"""Where the numbers of the runs' messages begin, in rounds of all patients: far above those of a million."""
DOCUMENTED = ("shared_buffers = '1GB'", "max_wal_size = '8GB'")
"""What docs/installing.md wants of PostgreSQL for a million messages; both databases have it."""
UNITS = {
    "cpu": "ms/message",
    "server": "ms/message",
    "server.blocks": "/1000 messages",
    "requests": "/1000 messages",
}


@dataclass
class Database:
    """One to be measured; ``begin`` is called with a folder before each run and returns the database's URL.

    ``used``: the CPU seconds of its server so far; ``blocks``: how many of them it has logged whole.
    """

    begin: object
    used: object = lambda: 0.0
    blocks: object = lambda: 0
    broker: str = ""
    layout: tuple = EMBEDDED


def seed(folder, receiver, database_url="", broker_url="", layout=EMBEDDED):
    """Enrol and send a thousand results, everything delivered."""
    with Unit(folder, receiver, database_url=database_url, broker_url=broker_url, layout=layout) as unit:
        accepted(send([enrol(patient) for patient in range(PATIENTS)], _feed(unit, "trials"), connections=CONNECTIONS))
        unit.settle()
        results = [message(number, PATIENTS, "SANCELSO") for number in range(SEED)]
        accepted(send(results, _feed(unit, "lis"), connections=CONNECTIONS, rate=SEED_RATE))
        unit.settle()


def messages_of(run):
    """Return enrolments of new patients and rounds of messages, one for each patient: no run's are another's."""
    known = range(run * KNOWN, (run + 1) * KNOWN)
    enrolments = [enrol(_new(patient, run)).replace(b"|E", b"|N", 1) for patient in known]
    return enrolments, [_round(known, run, FIRST + 1000 * run + 2 * turn) for turn in range(WARMING + ROUNDS)]


def _round(known, run, turn):
    """Return a message for each known patient and one for each new one."""
    numbers = [turn * PATIENTS + patient for patient in known]
    of_known = [message(number, PATIENTS, "SANCELSO") for number in numbers]
    of_new = [_renamed(message(number + PATIENTS, PATIENTS, "SANCELSO"), run) for number in numbers]
    return [raw for pair in zip(of_known, of_new, strict=True) for raw in pair]


def one_run(database, receiver, counts, run):
    """Send the messages of a run; return the CPU seconds that those that count took, and their requests."""
    with tempfile.TemporaryDirectory() as folder:
        url = database.begin(Path(folder))
        with Unit(folder, receiver, database_url=url, broker_url=database.broker, layout=database.layout) as unit:
            enrolments, rounds = messages_of(run)
            accepted(send(enrolments, _feed(unit, "trials"), connections=CONNECTIONS))
            unit.settle()
            _send(unit, rounds[:WARMING])
            before, used, servers, blocks = counts(), unit.cpu(), database.used(), database.blocks()
            _send(unit, rounds[WARMING:])
            after = counts()
            arrived = after["observations"] - before["observations"]
            if arrived != MESSAGES * OBSERVATIONS:
                sys.exit(f"{arrived} observations arrived instead of {MESSAGES * OBSERVATIONS}")
            return {
                "cpu": sum(unit.cpu().values()) - sum(used.values()),
                "server": database.used() - servers,
                "server.blocks": database.blocks() - blocks,
                "requests": after["requests"] - before["requests"],
            }


def _send(unit, rounds):
    for messages in rounds:
        accepted(send(messages, _feed(unit, "lis"), connections=CONNECTIONS))
        unit.settle()


def compare(name, small, big, receiver, counts):
    """Measure both in turn and report."""
    few, many = [], []
    for run in range(RUNS):
        few.append(one_run(small, receiver, counts, run))
        many.append(one_run(big, receiver, counts, run))
    for count, runs in ((SEED, few), (SEED * COPIES, many)):
        for what, unit in UNITS.items():
            values = [run[what] / MESSAGES * 1000 for run in runs]
            spread = [("least", min(values)), ("most", max(values))]
            report(f"{name}.{what}.at_{count}", statistics.median(values), unit, limit=spread)
    then, now = (statistics.median(run["cpu"] + run["server"] for run in runs) for runs in (few, many))
    report(name, (now / then - 1) * 100, f"% more than at {SEED} stored", target=15)


def embedded():
    """Compare two SQLite files."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DISK")) as base, far_end() as (receiver, counts):
        first, big = Path(base) / "seed", Path(base) / "big"
        first.mkdir()
        big.mkdir()
        seed(first, receiver)
        seeded, grown = first / "data" / "gateway.db", big / "gateway.db"
        shutil.copy(seeded, grown)
        _grow_sqlite(grown)

        def begin(folder):
            (folder / "data").mkdir()
            shutil.copy(seeded, folder / "data" / "gateway.db")
            return ""

        def begin_big(folder):
            (folder / "data").symlink_to(big, target_is_directory=True)
            return ""

        compare("growth.sqlite", Database(begin), Database(begin_big), receiver, counts)


def servers():
    """Compare two databases of one PostgreSQL server."""
    server = PostgresServer()
    for setting in DOCUMENTED:
        _execute(server.database(), f"ALTER SYSTEM SET {setting}")
    server.stop()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder, far_end() as (receiver, counts), broker() as url:
            seeded = server.database()
            seed(folder, receiver, seeded, url, DIVIDED)
            grown = server.database(seeded)
            _grow_postgres(grown)

            def used():
                return _of_family(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))

            def blocks():
                return _asked(grown, "SELECT wal_fpi FROM pg_stat_wal")

            def begin(_):
                made = server.database(seeded)
                _execute(made, "VACUUM ANALYZE")
                return made

            small, big = (Database(each, used, blocks, url, DIVIDED) for each in (begin, lambda _: grown))
            compare("growth.postgres", small, big, receiver, counts)
    finally:
        server.remove()


def _grow_sqlite(path):
    began = time.perf_counter()
    with closing(sqlite3.connect(path, isolation_level=None, cached_statements=0)) as database:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4000000"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("ATTACH ':memory:' AS seed")
        database.execute("BEGIN")
        bulk.Copies(database, bulk.SQLITE).fill(COPIES)
        database.execute("COMMIT")
    report("growth.sqlite.loading", time.perf_counter() - began, "s", limit=("GB", path.stat().st_size / 1e9))


def _grow_postgres(url):
    """Load without the largest index, then build it as full as one that grew by random ids is: about 70 %."""
    began = time.perf_counter()
    for statement in ("ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"):
        _execute(url, statement)
    with psycopg.connect(url) as database:
        database.execute("SET synchronous_commit = off")
        database.execute("SET maintenance_work_mem = '1GB'")
        database.execute("CREATE SCHEMA seed")
        database.execute("ALTER TABLE versions DROP CONSTRAINT versions_pkey")
        bulk.Copies(database, bulk.POSTGRES).fill(COPIES, database.commit)
        key = "ADD CONSTRAINT versions_pkey PRIMARY KEY (id, version) WITH (fillfactor = 70)"
        database.execute(f"ALTER TABLE versions {key}")
        for table in ("messages", "deliveries", "attempts", "audit"):
            database.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
        database.execute("SELECT setval('changes', (SELECT (max(page) / 4096 + 1) * 4096 + 1 FROM pages))")
        database.execute("DROP SCHEMA seed CASCADE")
    for statement in ("ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()", "VACUUM ANALYZE", "CHECKPOINT"):
        _execute(url, statement)
    size = _asked(url, "SELECT pg_database_size(current_database())")
    report("growth.postgres.loading", time.perf_counter() - began, "s", limit=("GB", size / 1e9))


def _execute(url, statement):
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(statement)


def _asked(url, query):
    with psycopg.connect(url) as database:
        return database.execute(query).fetchone()[0]


def _of_family(parent):
    """Return the CPU seconds of a process and its children, with those of the ones that ended."""
    used = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if parent in (int(path.parent.name), int(words[1])):
            used += sum(map(int, words[11:15]))
    return used / TICK


def _feed(unit, name):
    return Target("127.0.0.1", unit.port(name))


def _new(patient, run):
    return 1000 * (run + 1) + patient


def _renamed(raw, run):
    """Return a message for a new patient instead of a known one."""
    head, _, rest = raw.partition(b"PID|1||")
    number, _, tail = rest.partition(b"^")
    return b"%sPID|1||%d^%s" % (head, _new(int(number), run), tail)


def main():
    """Run the benchmark."""
    for name in os.environ.get("BENCH_GROWTH", "sqlite postgres").split():
        {"sqlite": embedded, "postgres": servers}[name]()


if __name__ == "__main__":
    main()
