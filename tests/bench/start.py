"""From the start of ``gateway serve`` to its first acknowledged message: the shipped configuration, SQLite.

``python -m tests.bench start``. The database is there already, as after any restart; a first start ever is measured
beside it. The sender tries to connect until the port is open, as hospital systems do.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.cli.base import shipped_config
from tests.bench.figures import report
from tests.servers.ports import free_port

RUNS = 5
PATIENCE = 60.0
MESSAGE = (
    b"\x0bMSH|^~\\&|LIS|SC|GW|CRU|20260301080000||ORU^R01^ORU_R01|START%d|P|2.5.1\r"
    b"PID|1||1^^^SANCELSO^MR||Doe^Jane||19700101|F\r"
    b"OBR|1|A1|F1|718-7^Haemoglobin^LN|||20260301080000|||||||||||||||20260301080000|||F\r"
    b"OBX|1|NM|718-7^Haemoglobin^LN||13.1|g/dL^^UCUM|||||F|||20260301080000\r\x1c\r"
)


def configured(folder):
    """Copy the shipped configuration with ports of our own; return its folder and the port of the ``lis`` feed."""
    config = folder / "config"
    shutil.copytree(shipped_config(), config, ignore=shutil.ignore_patterns("data"))
    port = 0
    for path in (config / "sites").glob("*.toml"):
        text = re.sub(r"^port = \d+$", lambda _: f"port = {free_port()}", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
        if found := re.search(r'id = "lis"[^\[]*?port = (\d+)', text):
            port = int(found[1])
    return config, port


@contextmanager
def serving(folder, config):
    """Run ``gateway serve``; end it politely."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    recipients = "".join(path.read_text() for path in (config / "recipients").glob("*.toml"))
    secrets = dict.fromkeys(re.findall(r'^secret_env = "(\w+)"', recipients, re.MULTILINE), "fictional")
    environment = secrets | {
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_DATA": str(folder / "data"),
        "GATEWAY_HTTP_PORT": str(free_port()),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"], env=kept | environment, cwd=folder, stdout=log, stderr=log
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(PATIENCE)


def first_acknowledged(port, number):
    """Try until a message is acknowledged."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(MESSAGE % number)
            if b"MSA|AA|" in connection.recv(65536):
                return
        time.sleep(0.005)
    sys.exit("nothing was acknowledged in time")


def start(folder, config, port, number):
    """Return the seconds from the start of the process to the first AA."""
    began = time.perf_counter()
    with serving(folder, config):
        first_acknowledged(port, number)
        return time.perf_counter() - began


def bare_start():
    """Return the seconds a Python needs to start and end: the limit."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def main():
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, port = configured(folder)
        first = start(folder, config, port, 0)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = [start(folder, config, port, number) for number in range(1, RUNS + 1)]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    bare = statistics.median(bare_start() for _ in range(RUNS))
    cpu = (after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime) / RUNS
    limit = ("a bare Python, started and ended", bare)
    report("start.first_acknowledged", statistics.median(seconds), "s", target=1.5, limit=limit)
    report("start.first_acknowledged.new_database", first, "s", limit=limit)
    report("start.cpu_until_stopped", cpu, "CPU-seconds")


if __name__ == "__main__":
    main()
