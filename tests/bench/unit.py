"""A gateway as it is deployed, for the benchmarks: its processes, their memory, their CPU time and their disk."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from gateway.settings import load, read_keys
from gateway.store import create_store
from tests.deployment import ROOT, clean_environment, write_keys
from tests.servers.ports import free_ports

PATIENCE = 900
TICK = os.sysconf("SC_CLK_TCK")

GATEWAY_TOML = """
name = "A unit of the benchmarks"

[translate]
workers = {workers}

[log]
format = "json"
level = "warning"
"""

EMBEDDED = (("gateway", ("listen", "translate", "relay", "deliver", "api")),)
DIVIDED = (("listen", ("listen", "relay")), ("translate", ("translate",)), ("deliver", ("deliver",)))
INTAKE = (("listen", ("listen",)),)


class Unit:
    """Processes of ``gateway serve`` on one database. Use it in a ``with`` block."""

    def __init__(self, folder, receiver, *, database_url="", broker_url="", layout=EMBEDDED):
        self.folder = Path(folder)
        self._layout = layout
        self._config = self.folder / "config"
        self._environment = clean_environment() | {
            "GATEWAY_CONFIG": str(self._config),
            "GATEWAY_DATA": str(self.folder / "data"),
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_BROKER_URL": broker_url,
            "GATEWAY_KEY_FILE": str(write_keys(self.folder / "keys.json")),
        }
        self._write_config(receiver, workers=0 if database_url else 1)
        self.settings = load(self._config, self._environment)
        self._running = {}
        self.addresses = {}
        self._store = None

    def __enter__(self):
        words = [sys.executable, "-m", "gateway", "db", "upgrade"]
        subprocess.run(words, env=self._environment, cwd=self.folder, check=True, capture_output=True)
        for name, _ in self._layout:
            self.start(name)
        return self

    def __exit__(self, *_):
        for name in self._running:
            self.stop(name)
        if self._store:
            self._store.close()

    def start(self, name):
        """Start a process and wait until it is ready."""
        roles = dict(self._layout)[name]
        port = free_ports(1)[0]
        kind = "HTTP" if "api" in roles else "PROBES"
        words = [sys.executable, "-m", "gateway", "serve", *(word for role in roles for word in ("--role", role))]
        own = {f"GATEWAY_{kind}_PORT": str(port), "GATEWAY_INSTANCE": name}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                words, env=self._environment | own, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self._running[name].poll() is not None:
                break
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                    self.addresses[name] = f"http://127.0.0.1:{port}"
                    return
            except httpx.HTTPError:
                time.sleep(0.02)
        sys.exit(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()[-3000:]}")

    def stop(self, name):
        """End a process."""
        process = self._running[name]
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def port(self, feed):
        """Return the port of a feed."""
        return self.settings.feeds[feed].port

    @property
    def store(self):
        """A look into the database, beside its owner."""
        if self._store is None:
            self._store = create_store(
                self.settings.database_url.get_secret_value(), read_keys(self.settings.key_file), read_only=True
            )
        return self._store

    def waiting(self):
        """Return how many messages and how many deliveries wait."""
        with self.store.begin(write=False) as tx:
            return sum(one.waiting for one in tx.feed_queues()), sum(one.waiting for one in tx.recipient_queues())

    def settle(self):
        """Wait until nothing waits."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if not any(self.waiting()):
                return
            time.sleep(0.1)
        sys.exit(f"not everything was delivered in time: {self.waiting()} wait")

    def memory(self):
        """Return the resident MiB of all processes; what several have mapped, as the database file, counts once."""
        lines = (Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in self._processes())
        return sum(int(line.split()[1]) for each in lines for line in each if line.startswith("Pss:")) / 1024

    def cpu(self):
        """Return the CPU seconds each process has used, by name; those it started stand beside it together."""
        used = dict.fromkeys((each for name in self._running for each in (name, f"{name}.workers")), 0.0)
        for pid, name in self._processes().items():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            whose = name if pid == self._running[name].pid else f"{name}.workers"
            used[whose] += (int(words[11]) + int(words[12])) / TICK
        return used

    def _processes(self):
        sessions = {process.pid: name for name, process in self._running.items() if process.poll() is None}
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                session = int(path.read_text().rpartition(")")[2].split()[3])
            except OSError:
                continue
            if session in sessions:
                found[int(path.parent.name)] = sessions[session]
        return found

    def _write_config(self, receiver, workers):
        shutil.copytree(ROOT / "fixtures" / "config", self._config, ignore=shutil.ignore_patterns("data"))
        (self._config / "gateway.toml").write_text(GATEWAY_TOML.format(workers=workers))
        for path in (self._config / "recipients").glob("*.toml"):
            if path.stem != "edc":
                path.unlink()
        edc = self._config / "recipients" / "edc.toml"
        edc.write_text(
            re.sub(r'^address = ".*"$', f'address = "http://127.0.0.1:{receiver}/fhir"', edc.read_text(), flags=re.M)
        )
        ports = free_ports(8)
        for path in (self._config / "sites").glob("*.toml"):
            path.write_text(re.sub(r"^port = \d+$", lambda _: f"port = {ports.pop()}", path.read_text(), flags=re.M))
