"""How many messages a second are stored durably and acknowledged over MLLP, translation off.

``python -m tests.bench intake`` prints one JSON line per figure: SQLite over 1, 8 and 32 connections, PostgreSQL over 8
and 32. The listener has a process of its own and stores encrypted; each connection of the sender waits for every
acknowledgment, and every message has its own control id and content.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import resource
import secrets
import statistics
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from adapters.hospital.framing import frame
from adapters.hospital.mllp import MllpListener
from gateway.model.keys import Keys
from gateway.model.site import Feed
from gateway.services.metrics import Metrics
from gateway.services.receive import Intake
from gateway.store import create_store
from tests.bench.figures import message, report
from tests.bench.limits import echo_rate, fsync_rate, insert_rate
from tests.bench.sender import feed
from tests.servers.postgres import PostgresServer

RUNS = 5
MESSAGES = 4000
WARMING = 300
P99_MILLISECONDS = 15
TARGETS = {
    "sqlite": {1: 1000, 8: 4000, 32: 5000},
    "postgres": {8: 3000, 32: 3000},
}


def listen(url, connection):
    """Run a listener until told to stop; send its port first and its peak memory (MiB) last."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), cache_logger_on_first_use=True
    )
    keys = Keys(*(secrets.token_bytes(32) for _ in range(4)), {"a": secrets.token_bytes(32)}, "a")
    store = create_store(url, keys)
    store.upgrade()
    metrics = Metrics()
    intake = Intake(store, lambda: datetime.now(UTC), metrics=metrics)
    listener = MllpListener([Feed("lis", "north", port=0)], intake, metrics)
    intake.start()
    listener.start()
    gc.freeze()  # as the gateway does
    connection.send(listener.ports["lis"])
    connection.recv()
    listener.stop()
    intake.stop()
    store.close()
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def listening(name, url):
    """Run a listener in a process of its own; give its port."""
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    child = spawn.Process(target=listen, args=(url, its))
    child.start()
    yield ours.recv()
    ours.send("stop")
    report(f"intake.{name}.memory", ours.recv(), "MiB")
    child.join()


def measure(port, connections, first):
    """Send different messages, the first of them uncounted; return what came of the others."""
    blocks = [frame(message(first + number)) for number in range(WARMING + MESSAGES)]
    for some in (blocks[:WARMING], blocks[WARMING:]):
        fed = feed(port, some, connections)
        if fed.others:
            sys.exit(f"not everything was accepted: {fed.others[0]!r}")
    return fed


def measure_all(name, url, limits):
    """Measure every number of connections, the limits beside each."""
    first = 0
    with listening(name, url) as port:
        for connections, target in TARGETS[name].items():
            runs = []
            for _ in range(RUNS):
                runs.append(measure(port, connections, first))
                first += WARMING + MESSAGES
            beside = [
                *limits,
                ("bare loopback echoes per second, as many connections", echo_rate(connections)),
                ("bare INSERT and commit per second, as many connections", insert_rate(url, connections)),
            ]
            figure = f"intake.{name}.connections_{connections}"
            rate = statistics.median(run.per_second for run in runs)
            report(figure, rate, "messages/s", target=target, limit=beside)
            for percent in (50, 99):
                latency = statistics.median(run.percentile(percent) for run in runs) * 1000
                report(f"{figure}.p{percent}", latency, "ms", target=P99_MILLISECONDS if percent == 99 else None)


def main():
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        limits = [("bare appends made durable per second", fsync_rate(folder))]
        measure_all("sqlite", f"sqlite:///{folder}/gateway.db", limits)
        size = sum(file.stat().st_size for file in Path(folder).glob("gateway.db*") if "probe" not in file.name)
        count = RUNS * (WARMING + MESSAGES) * len(TARGETS["sqlite"])
        report("intake.sqlite.disk", size / 1000 / count, "kB/message")
        server = PostgresServer()
        try:
            measure_all("postgres", server.database(), limits)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
