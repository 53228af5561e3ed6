"""A private RabbitMQ node for one test session: free ports, own folder, own epmd; never one that happens to run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.certificates import Authority
from tests.servers.ports import free_ports

ACCOUNT: Final = "rabbitmq"
START_SECONDS: Final = 240.0
_PR_SET_PDEATHSIG: Final = 1


class ServerMissing(Exception):
    """The server is not installed."""


def programs() -> Path:
    """Return the folder of RabbitMQ's own scripts (Debian's wrappers in ``/usr/sbin`` insist on the system node)."""
    places = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    if places:
        return places[-1]
    found = shutil.which("rabbitmq-server")
    if found:
        return Path(found).resolve().parent
    raise ServerMissing("RabbitMQ is not installed: run `make services`")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class RabbitNode:
    """A running node. ``url`` is of its administrator; ``authority`` signed the certificate of ``tls_url``."""

    folder: Path
    port: int
    tls_port: int
    environment: dict[str, str]
    account: str | None

    @property
    def url(self) -> str:
        return self.url_of("guest", "guest")

    @property
    def authority(self) -> str:
        return str(self.folder / "authority.pem")

    @property
    def tls_url(self) -> str:
        return f"amqps://guest:guest@localhost:{self.tls_port}/%2F"

    def url_of(self, user: str, password: str, virtual_host: str = "%2F") -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{virtual_host}"

    def control(self, *words: str) -> str:
        """Run ``rabbitmqctl`` against this node and return what it printed."""
        done = subprocess.run(
            [programs() / "rabbitmqctl", "--node", self.environment["RABBITMQ_NODENAME"], "--quiet", *words],
            env=self.environment,
            user=self.account,
            group=self.account,
            extra_groups=[] if self.account else None,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"rabbitmqctl {words[0]}: {done.stdout} {done.stderr}"
        return done.stdout

    def add_user(self, user: str, password: str) -> None:
        self.control("add_user", user, password)

    def add_virtual_host(self, name: str) -> str:
        """Make an empty virtual host and return its URL."""
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url_of("guest", "guest", name)


def _environment(folder: Path, port: int, epmd: int, distribution: int) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"gateway-test-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        # Two schedulers, no busy waiting: a node of one session shares two cores with the tests themselves.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
    }


def _prepare(folder: Path, port: int, tls_port: int, account: str | None) -> None:
    for name in ("data", "log"):
        (folder / name).mkdir()
    certificate, key = Authority(folder).issue("localhost")
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n"
        f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.verify = verify_none\n"
        "log.console = false\nloopback_users.guest = true\n"
        "vm_memory_high_watermark.relative = 0.3\ndisk_free_limit.absolute = 50MB\n"
    )
    (folder / "enabled_plugins").write_text("[].\n")
    if account:
        owner = pwd.getpwnam(account)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)


def _wait_until_open(node: RabbitNode, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", node.port), 1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                if probe.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    logs = "\n".join(path.read_text(errors="replace")[-3000:] for path in (node.folder / "log").glob("*.log"))
    raise RuntimeError(
        f"RabbitMQ did not start:\n{logs}\n{(node.folder / 'output').read_text(errors='replace')[-3000:]}"
    )


def start(folder: Path) -> tuple[RabbitNode, subprocess.Popen[bytes]]:
    """Start a node in a folder of its own and wait until it takes connections."""
    account = ACCOUNT if os.geteuid() == 0 else None
    port, tls_port, epmd, distribution = free_ports(4)
    _prepare(folder, port, tls_port, account)
    node = RabbitNode(folder, port, tls_port, _environment(folder, port, epmd, distribution), account)
    return node, run(node)


def run(node: RabbitNode) -> subprocess.Popen[bytes]:
    """Start a node, again after it ended, and wait until it takes connections."""
    with (node.folder / "output").open("ab") as output:
        running = subprocess.Popen(
            [programs() / "rabbitmq-server"],
            env=node.environment,
            user=node.account,
            group=node.account,
            extra_groups=[] if node.account else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=node.folder,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
        )
    try:
        _wait_until_open(node, running)
    except BaseException:
        stop(node, running)
        raise
    return running


def stop(node: RabbitNode, running: subprocess.Popen[bytes]) -> None:
    """End the node and its epmd."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait(240)
    epmd = shutil.which("epmd")
    deadline = time.monotonic() + 20
    while epmd and time.monotonic() < deadline:
        # It refuses while it still believes that the node lives.
        if subprocess.run([epmd, "-kill"], env=node.environment, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitNode]:
    """One private RabbitMQ node for the whole session. Keep tests apart with a prefix or a virtual host."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
    folder.chmod(0o755)
    try:
        node, running = start(folder)
        try:
            yield node
        finally:
            stop(node, running)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
