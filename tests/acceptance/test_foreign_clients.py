"""Clients that we did not write can feed the gateway: ``mllp_send`` of PyPI's hl7 and a Node client from npm."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.hospital.framing import frame
from gateway.model.site import Feed
from tests.contracts.waiting import PATIENCE
from tests.listening import listening, message, rows

NODE = Path(__file__).parent / "node"
FEED = Feed("lis", "north", port=0)


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_mllp_send_of_hl7_feeds_the_gateway(store, tmp_path):
    file = tmp_path / "messages.mllp"
    file.write_bytes(b"".join(frame(message(str(n))) for n in range(3)))
    program = Path(sys.executable).with_name("mllp_send")

    with listening(store, FEED) as running:
        out = run(program, "--port", str(running.ports["lis"]), "--file", file, "127.0.0.1")

    assert [f"MSA|AA|{n}".encode() in out for n in range(3)] == [True] * 3
    assert [row.control_id for row in rows(store)] == ["0", "1", "2"]


@pytest.fixture(scope="session")
def node():
    """Install the Node client as locked, once; Node itself is a tool of the machine."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if not program or not npm:
        pytest.fail("node and npm are needed (make services)")
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=NODE)
    return program


def test_a_node_client_feeds_the_gateway(store, tmp_path, node):
    files = [tmp_path / f"{n}.hl7" for n in range(3)]
    for n, file in enumerate(files):
        file.write_bytes(message(f"N{n}"))

    with listening(store, FEED) as running:
        out = run(node, "send.mjs", str(running.ports["lis"]), *map(str, files), cwd=NODE)

    assert out.decode().splitlines() == ["AA N0", "AA N1", "AA N2"]
    assert [row.control_id for row in rows(store)] == ["N0", "N1", "N2"]
