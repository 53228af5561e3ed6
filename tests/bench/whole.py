"""MLLP to delivered HTTP: messages of 20 observations for enrolled patients, every step durable, all roles running.

``python -m tests.bench whole``; BENCH_WHOLE, _MESSAGES, _RUNS and _CATCH_UP make it shorter. The gateway runs as
``gateway serve`` does: one process on SQLite; a process per role on PostgreSQL and RabbitMQ, which are started for
this run. Sender and far end have processes of their own, on the same cores.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from adapters.hospital.client import Target, send
from tests.bench import limits
from tests.bench.figures import OBSERVATIONS, message, report
from tests.bench.sink import far_end
from tests.bench.unit import DIVIDED, EMBEDDED, Unit
from tests.servers import rabbitmq
from tests.servers.postgres import PostgresServer

PATIENTS = 500
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "6000"))
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
CATCH_UP = int(os.environ.get("BENCH_CATCH_UP", "100000"))
CONNECTIONS = 8
OFFERED = 300
OFFERED_SECONDS = 20
ENROLLED_AT = datetime(2026, 2, 1, 8, tzinfo=UTC)


def enrol(number):
    """Return the registration of a patient on a study."""
    at = (ENROLLED_AT + timedelta(seconds=number)).strftime("%Y%m%d%H%M%S")
    lines = [
        f"MSH|^~\\&|CTO|SANCELSO|GATEWAY|CRU|{at}||CRM^C01|E{number}|P|2.5.1",
        f"PID|1||{number}^^^SANCELSO^MR||Doe^Jane||19700101|F",
        f"CSR|MLD||SC|MLD-{number}||20260201|||20260201|E",
    ]
    return ("\r".join(lines) + "\r").encode()


def measure(name, unit, counts, targets):
    """Enrol, then send, wait until everything is delivered, report; then offer a steady rate."""
    begin(unit)
    runs = [one_run(unit, counts, run) for run in range(RUNS)]
    rates = [MESSAGES / run["seconds"] for run in runs]
    limit = ("loopback echo, 8 connections", limits.echo_rate(CONNECTIONS))
    report(f"{name}.delivered", statistics.median(rates), "messages/s", target=targets["rate"], limit=limit)
    report(f"{name}.delivered.least", min(rates), "messages/s")
    report(f"{name}.acknowledged", statistics.median(run["acknowledged"] for run in runs), "messages/s")
    for process in runs[0]["cpu"]:
        spent = statistics.median(run["cpu"][process] for run in runs)
        report(f"{name}.cpu.{process}", spent / MESSAGES * 1000, "ms/message")
    report(f"{name}.requests", statistics.median(run["requests"] for run in runs) / MESSAGES, "requests/message")
    report(f"{name}.memory", max(run["memory"] for run in runs), "MiB", target=400)
    offered(name, unit)


def begin(unit):
    """Register the patients on their study and wait until the recipient knows."""
    target = Target("127.0.0.1", unit.port("trials"))
    done = send([enrol(number) for number in range(PATIENTS)], target, connections=CONNECTIONS)
    accepted(done)
    unit.settle()


def one_run(unit, counts, run):
    """Send so many new messages as fast as they are acknowledged and wait for the last delivery."""
    messages = [message(run * MESSAGES + number, PATIENTS, "SANCELSO") for number in range(MESSAGES)]
    before, used = counts(), unit.cpu()
    began = time.perf_counter()
    done = send(messages, Target("127.0.0.1", unit.port("lis")), connections=CONNECTIONS)
    accepted(done)
    memory = unit.memory()
    unit.settle()
    seconds = time.perf_counter() - began
    after = counts()
    arrived = after["observations"] - before["observations"]
    if arrived != MESSAGES * OBSERVATIONS:
        sys.exit(f"{arrived} observations arrived instead of {MESSAGES * OBSERVATIONS}")
    return {
        "seconds": seconds,
        "acknowledged": done.per_second,
        "requests": after["requests"] - before["requests"],
        "memory": max(memory, unit.memory()),
        "cpu": {process: spent - used[process] for process, spent in unit.cpu().items()},
    }


def offered(name, unit):
    """Offer a steady rate: the answers stay quick and no backlog grows.

    A delivery of each of the patients may always wait; what waits at half the time and at the end says if it grows.
    """
    count = OFFERED * OFFERED_SECONDS
    messages = [message(RUNS * MESSAGES + number, PATIENTS, "SANCELSO") for number in range(count)]
    middle = []
    halfway = threading.Timer(OFFERED_SECONDS / 2, lambda: middle.extend(unit.waiting()))
    halfway.start()
    done = send(messages, Target("127.0.0.1", unit.port("lis")), connections=CONNECTIONS, rate=OFFERED)
    accepted(done)
    backlog = unit.waiting()
    halfway.join()
    report(f"{name}.offered_300.p50", done.percentile(50) * 1000, "ms")
    report(f"{name}.offered_300.p99", done.percentile(99) * 1000, "ms", target=30)
    report(f"{name}.offered_300.backlog", sum(backlog), "messages and deliveries after 20 s", target=OFFERED)
    report(
        f"{name}.offered_300.backlog.grew", sum(backlog) - sum(middle), "of them since the 10th second", target=OFFERED
    )
    unit.settle()


def catch_up(name, unit, target):
    """Store messages while nothing translates or delivers, then start both and see the outage end."""
    for process in ("translate", "deliver"):
        unit.stop(process)
    first = RUNS * MESSAGES + OFFERED * OFFERED_SECONDS
    for start in range(0, CATCH_UP, 10_000):
        numbers = range(first + start, first + min(start + 10_000, CATCH_UP))
        messages = [message(number, PATIENTS, "SANCELSO") for number in numbers]
        accepted(send(messages, Target("127.0.0.1", unit.port("lis")), connections=CONNECTIONS))
    began = time.perf_counter()
    for process in ("translate", "deliver"):
        unit.start(process)
    unit.settle()
    rate = CATCH_UP / (time.perf_counter() - began)
    report(f"{name}.catch_up", rate, f"messages/s after an outage of {CATCH_UP} messages", target=target)


def accepted(done):
    """End the run when not everything was acknowledged positively."""
    if done.answered != done.sent or not set(done.codes) <= {"AA", "CA"}:
        sys.exit(f"not everything was accepted: {dict(done.codes)} {dict(done.errors)}")


def embedded():
    """Measure one process on SQLite."""
    with tempfile.TemporaryDirectory() as folder, far_end() as (receiver, counts):
        with Unit(folder, receiver, layout=EMBEDDED) as unit:
            measure("whole.embedded", unit, counts, {"rate": 400})
        disk("whole.embedded", (Path(folder) / "data" / "gateway.db").stat().st_size)


def servers():
    """Measure a process per role on PostgreSQL and RabbitMQ."""
    with (
        tempfile.TemporaryDirectory() as folder,
        far_end() as (receiver, counts),
        postgres() as database,
        broker() as url,
    ):
        with Unit(folder, receiver, database_url=database, broker_url=url, layout=DIVIDED) as unit:
            measure("whole.servers", unit, counts, {"rate": 700})
            catch_up("whole.servers", unit, 700)
        with psycopg.connect(database) as connection:
            size = connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]
        disk("whole.servers", size, RUNS * MESSAGES + OFFERED * OFFERED_SECONDS + CATCH_UP)


def disk(name, size, stored=RUNS * MESSAGES + OFFERED * OFFERED_SECONDS):
    """Report what is kept of a message, everything included."""
    report(f"{name}.disk", size / 1000 / stored, "kB/message", target=20)


@contextmanager
def postgres():
    """Yield the URL of an empty database of a server of our own."""
    server = PostgresServer()
    try:
        yield server.database()
    finally:
        server.remove()


@contextmanager
def broker():
    """Yield the URL of a RabbitMQ node of our own."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
    folder.chmod(0o755)
    node, running = rabbitmq.start(folder)
    try:
        yield node.url
    finally:
        rabbitmq.stop(node, running)
        shutil.rmtree(folder, ignore_errors=True)


def main():
    """Run the benchmark."""
    for name in os.environ.get("BENCH_WHOLE", "embedded servers").split():
        {"embedded": embedded, "servers": servers}[name]()


if __name__ == "__main__":
    main()
