"""A gateway as it is deployed: real ``gateway serve`` processes, real feeds, stand-in trial systems as the far ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import httpx

from adapters.hospital.client import Target, send
from fixtures.story import decides
from gateway.settings import load, read_keys
from gateway.store import create_store
from tests.configuration import ROOT, Limits, clean_environment, give_ports, write_config, write_keys
from tests.contracts.waiting import PATIENCE, wait_for
from tests.ends import end_of
from tests.servers.ports import free_ports
from tests.trial_systems import SECRET, TrialSystems

ROLES = ("listen", "translate", "relay", "deliver", "api")


@dataclass
class Member:
    """One process of a deployment; ``port`` is of its probes."""

    name: str
    roles: tuple[str, ...]
    port: int
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"


class Deployment:
    """Processes, their configuration folder and their far ends. Use it in a ``with`` block.

    ``processes`` 1: every role in one; 5: one process per role; ``layout``: name -> roles. Of several that listen each
    has ports of its own (``ports_of``). ``own``: name -> what this process finds elsewhere in its environment.
    ``recipients``: id -> file of further ones. Without URLs it is embedded: SQLite, and queues that nobody outside can
    read.
    """

    def __init__(
        self,
        folder,
        *,
        database_url="",
        broker_url="",
        processes=1,
        layout=None,
        own=None,
        recipients=None,
        limits=None,
    ):
        self.folder = folder
        self._limits = limits or Limits()
        self.config = folder / "config"
        self.broker_url = broker_url
        shutil.copytree(ROOT / "fixtures" / "config", self.config, ignore=shutil.ignore_patterns("data"))
        for id, text in (recipients or {}).items():
            (self.config / "recipients" / f"{id}.toml").write_text(text)
        self.trial_systems = TrialSystems(self.config)
        self._ports = ports = free_ports(40)
        write_config(self.config, self._limits, ports, self.trial_systems.addresses)
        self.environment = clean_environment() | {
            "GATEWAY_CONFIG": str(self.config),
            "GATEWAY_DATA": str(folder / "data"),
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_BROKER_URL": broker_url,
            "GATEWAY_KEY_FILE": str(write_keys(folder / "keys.json")),
        }
        self.environment |= dict.fromkeys(re.findall(r'^secret_env = "(\w+)"', self._recipients_text(), re.M), SECRET)
        layout = layout or ({"gateway": ROLES} if processes == 1 else {role: (role,) for role in ROLES})
        self.members = {
            name: Member(name, wanted, ports.pop(), folder / f"{name}.log", (own or {}).get(name, {}))
            for name, wanted in layout.items()
        }
        self._store = None

    def __enter__(self):
        try:
            self._part_listeners()
            self.command("db", "upgrade")
            self.run()
            if self.broker_url:
                self.trial_systems.read_queues(self.broker_url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for member in self.members.values():
            if member.running and member.running.poll() is None:
                os.killpg(member.running.pid, signal.SIGKILL)
                member.running.wait()
        if self._store:
            self._store.close()
            self._store = None
        self.trial_systems.close()

    # --- processes

    def run(self):
        """Start every process, for the first time or once more, and wait until all are ready."""
        for member in self.members.values():
            self._spawn(member)
        for member in self.members.values():
            self._wait_until_ready(member)

    def kill(self, name):
        """End a process as a crash does; its peers and its far ends live on."""
        member = self.members[name]
        member.running.kill()
        member.running.wait()

    def restart(self, name, roles=None):
        """Start a process again, for these roles from now on when given, and wait until it is ready."""
        member = self.members[name]
        member.roles = roles or member.roles
        self.start(name)
        self._wait_until_ready(member)

    def start(self, name):
        """Start a process again and do not wait for it."""
        self._spawn(self.members[name])

    def stop(self):
        """Ask every process to end, and see it end well: it ends with another status when it takes too long."""
        running = [member for member in self.members.values() if member.running.poll() is None]
        for member in running:
            member.running.terminate()
        for member in running:
            assert member.running.wait(PATIENCE) == 0, f"{member.name}:\n{self.log_of(member)[-3000:]}"

    def log_of(self, member):
        return member.log.read_text(errors="replace")

    @property
    def logs(self):
        return "".join(self.log_of(member) for member in self.members.values())

    def _spawn(self, member):
        words = [word for role in member.roles for word in ("--role", role)]
        kind = "HTTP" if "api" in member.roles else "PROBES"
        own = {f"GATEWAY_{kind}_PORT": str(member.port), "GATEWAY_INSTANCE": member.name}
        with member.log.open("ab") as log:
            member.running = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", *words],
                env=self.environment | own | member.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_ready(self, member):
        def ready():
            assert member.running.poll() is None, f"{member.name} ended:\n{self.log_of(member)[-3000:]}"
            try:
                return httpx.get(f"{member.address}/readyz", timeout=PATIENCE).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(ready, PATIENCE, f"{member.name} ready")

    def command(self, *words):
        """Run a command of the deployment's own; return what it wrote. It must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # --- feeds

    def play(self, messages, *, settled=True):
        """Send messages over their feeds, in order; return them with their answers.

        The gateway is left to settle around messages that decide what others come to (``demo.decides``), and at the
        end when ``settled``: what was sent before a withdrawal stays, what was not never leaves.
        """
        played = []
        for message in messages:
            alone = decides(message) or self.settings.feeds[message.feed].kind == "folder"
            if alone:
                self.settle()
            played.append(replace(message, answer=self.send(message)))
            if alone:
                self.settle()
        if settled:
            self.settle()
        return played

    def play_and_note(self, messages):
        """Play messages; keep what was answered in ``played`` and what it came to in ``noted_end``."""
        self.played = self.play(messages)
        self.noted_end = self.end

    def send(self, message):
        """Send one message until it is answered, as senders do, and return MSA-1 (``file`` from a folder)."""
        feed = self.settings.feeds[message.feed]
        if feed.kind == "folder":
            return drop(message, Path(feed.path))
        answers = []
        wait_for(
            lambda: answers.append(self.try_once(message)) or answers[-1], PATIENCE, f"an answer to {message.name}"
        )
        return answers[-1]

    def try_once(self, message):
        """Send one message over the network, once, as an impatient sender does: MSA-1, empty without an answer."""
        feed = self.settings.feeds[message.feed]
        if feed.kind == "http":
            return self._post(message, feed)
        return next(iter(send([message.raw], Target("127.0.0.1", feed.port), timeout=10).codes), "")

    def ports_of(self, feed):
        """Return where each process that listens takes a feed."""
        folders = [one.environment.get("GATEWAY_CONFIG", self.config) for one in self.members.values()
                   if "listen" in one.roles]  # fmt: skip
        return [load(Path(folder), self.environment).feeds[feed].port for folder in folders]

    def _post(self, message, feed):
        member = next(member for member in self.members.values() if "api" in member.roles)
        headers = {"Content-Type": "application/hl7-v2"}
        try:
            answer = httpx.post(f"{member.address}/hl7v2/{feed.id}", content=message.raw, headers=headers, timeout=10)
        except httpx.HTTPError:
            return ""
        return answer.content.partition(b"\rMSA|")[2][:2].decode()

    # --- what became of it

    @cached_property
    def settings(self):
        return load(self.config, self.environment)

    @property
    def store(self):
        """A look into the deployment's database: a connection of our own, beside the owner of a SQLite file."""
        if self._store is None:
            settings = self.settings
            self._store = create_store(
                settings.database_url.get_secret_value(), read_keys(settings.key_file), read_only=True
            )
        return self._store

    def settle(self, seconds=PATIENCE):
        """Wait until nothing waits."""
        try:
            wait_for(self.is_settled, seconds, "an empty work list")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs[-6000:]}") from None

    def is_settled(self):
        """Whether nothing waits: no file, no message, no delivery, no event without a receipt."""
        folders = [Path(feed.path) for feed in self.settings.feeds.values() if feed.kind == "folder"]
        if any(any(folder.glob("*.hl7")) for folder in folders):
            return False
        with self.store.begin(write=False) as tx:
            if any(line.waiting for line in (*tx.feed_queues(), *tx.recipient_queues())):
                return False
            later = datetime.now(UTC) + timedelta(days=1)
            readers = self.trial_systems.queues if self.trial_systems.reading else ()
            return not any(tx.outbox.unreceipted(recipient, later, 1) for recipient in readers)

    @property
    def end(self):
        return end_of(self.store, self.trial_systems.received)

    # --- configuration

    def _part_listeners(self):
        """Give every process that listens but the first a configuration with ports of its own."""
        for member in [one for one in self.members.values() if "listen" in one.roles][1:]:
            config = self.folder / f"config-{member.name}"
            shutil.copytree(self.config, config)
            give_ports(config, self._ports)
            member.environment |= {"GATEWAY_CONFIG": str(config)}

    def _recipients_text(self):
        return "\n".join(path.read_text() for path in (self.config / "recipients").glob("*.toml"))


def drop(message, folder):
    """Put a message into a folder as senders do: under another name until it is complete."""
    part = folder / f"{message.name}.part"
    part.write_bytes(message.raw)
    part.rename(folder / f"{message.name}.hl7")
    return "file"
