"""The page for trial systems takes a developer from a key pair to the first page of Observations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trial-systems.md").read_text()


@pytest.fixture
def demo(tmp_path):
    """The unit that the page starts, and the address it prints."""
    running = subprocess.Popen(
        ["gateway", "demo"],
        env=reader(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = next(found[1] for line in running.stdout if (found := re.search(r"(http://\S+/fhir/r4) ", line)))
        yield address
    finally:
        running.terminate()
        running.communicate(timeout=PATIENCE)


def reader(folder):
    """The environment of somebody who follows the page in a folder of their own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "GATEWAY_DATA": str(folder / "unit"), "PYTHONUNBUFFERED": "1"}


def script(name):
    return next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if block.startswith(f"# {name}"))


def shown(beginning):
    """Return the command of the page that begins so, without the setting before it."""
    commands = re.findall(r"```sh\nGATEWAY_DATA=unit (.*?)\n```", PAGE, re.S)
    return next(command for command in commands if command.startswith(beginning))


def run(command, folder):
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=reader(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_developer_gets_from_a_key_pair_to_the_first_page(demo, tmp_path):
    assert shown("gateway demo") == "gateway demo"
    for name in ("make_keys.py", "first_page.py"):
        (tmp_path / name).write_text(script(name))

    run("python make_keys.py", tmp_path)
    run(shown("gateway clients add"), tmp_path)
    lines = run(f"python first_page.py {demo}", tmp_path).splitlines()

    assert len(lines) == 10
    assert all(re.match(r"\d{4}-\d\d-\d\d", line) for line in lines)
