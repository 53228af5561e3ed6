"""What the README and the pages show a reader is what happens: every command shown is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FAILS = {"gateway translate fixtures/messages/*.lis.*.hl7 --site san-celso-lis --report"}
"""Shown commands that end with 1, as they must: the story holds messages that are refused."""


def commands() -> list[tuple[str, str]]:
    blocks = [
        (page.name, block) for page in PAGES for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.S)
    ]
    return [(name, line[2:]) for name, block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A reader's shell, after the demo was played into a folder of its own."""
    data = tmp_path_factory.mktemp("readme")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GATEWAY_DATA": str(data)}
    done = subprocess.run(["gateway", "demo", "--once"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return environment


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: value)
def test_a_shown_command_runs(page, command, environment):
    if command.startswith("gateway demo"):  # it plays into an empty database only
        environment = {name: value for name, value in environment.items() if name != "GATEWAY_DATA"}
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == (1 if command in FAILS else 0), done.stderr
    assert done.stdout.strip()


def test_every_page_linked_to_is_there():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_make_targets_shown_exist():
    for target in ("run", "test", "check", "bench", "services", "lock"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_command_has_a_page_that_names_it():
    """A command that no page mentions is one nobody finds."""
    text = "".join(page.read_text() for page in PAGES)
    for command in (
        "demo",
        "serve",
        "translate",
        "send",
        "check",
        "status",
        "messages",
        "deliveries",
        "gaps",
        "explain",
        "reconcile",
        "disclosures",
        "audit",
        "clients",
    ):
        assert f"gateway {command}" in text
