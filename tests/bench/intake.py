"""How many messages a second are stored durably and acknowledged over MLLP, translation off.

``python -m tests.bench intake`` prints one JSON line per figure. The listener has a process of its own with
an encrypted SQLite file; the sender is ``gateway send``'s client, every message with its own control id.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import secrets
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import structlog

from adapters.hospital.client import Target, send
from adapters.hospital.mllp import MllpListener
from gateway.model.keys import Keys
from gateway.model.site import Feed
from gateway.services.metrics import Metrics
from gateway.services.receive import Intake
from gateway.store import create_store
from tests.bench.figures import message, report

CONNECTIONS = (1, 8, 32)


def listen(folder, connection):
    """Run a listener until told to stop; send its port first and its peak memory (MiB) last."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    keys = Keys(*(secrets.token_bytes(32) for _ in range(4)), {"a": secrets.token_bytes(32)}, "a")
    store = create_store(f"sqlite:///{folder}/gateway.db", keys)
    store.upgrade()
    metrics = Metrics()
    intake = Intake(store, lambda: datetime.now(UTC), metrics=metrics)
    listener = MllpListener([Feed("lis", "north", port=0)], intake, metrics)
    intake.start()
    listener.start()
    connection.send(listener.ports["lis"])
    connection.recv()
    listener.stop()
    intake.stop()
    store.close()
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(port, seconds):
    """Feed the listener over 1, 8 and 32 connections for about so many seconds each."""
    number = 0
    for connections in CONNECTIONS:
        count = 300
        while True:
            messages = [message(number + n) for n in range(count)]
            number += count
            done = send(messages, Target("127.0.0.1", port), connections=connections)
            if done.errors or set(done.codes) != {"AA"}:
                sys.exit(f"not everything was accepted: {dict(done.codes)} {dict(done.errors)}")
            if done.seconds >= seconds / 2:
                break
            count = max(int(done.per_second * seconds), count * 2)
        name = f"intake.durable.connections_{connections}"
        report(name, done.per_second, "messages/s")
        report(f"{name}.p50", done.percentile(50) * 1000, "ms")
        report(f"{name}.p99", done.percentile(99) * 1000, "ms")


def main():
    """Run the benchmark."""
    seconds = 5.0
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = spawn.Process(target=listen, args=(folder, its))
        child.start()
        measure(ours.recv(), seconds)
        ours.send("stop")
        report("intake.durable.memory", ours.recv(), "MiB")
        child.join()
        report("intake.durable.disk", sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20, "MiB")


if __name__ == "__main__":
    main()
