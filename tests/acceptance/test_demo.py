"""``gateway demo --once`` as a first user types it: on real servers, and from an installed wheel in an empty folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.contracts.waiting import PATIENCE
from tests.deployment import ROOT, clean_environment

SENTENCES = ("What came in", "What it became", "Who received what, and who did not and why", "What waits for a person")


def demo(folder, **environment):
    """Run the demo once in an empty folder and return what it printed; it must end well and leave nothing behind."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--once"],
        env=clean_environment() | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(folder.iterdir()) == []
    return done.stdout


def assert_tells_the_story(screen, year):
    assert f"{len(year)} messages" in screen.splitlines()[0]
    assert [title for title in SENTENCES if title not in screen] == []
    for feed in {message.feed for message in year}:
        count = sum(message.feed == feed for message in year)
        assert re.search(rf"^  {feed} +{count} ", screen, re.MULTILINE), feed
    assert re.search(r"^  resources +\d+ Observation|, \d+ Observation", screen, re.MULTILINE)
    for recipient in ("edc", "registry", "ctms"):
        told = screen.partition(f"\n  {recipient} (")[2].partition("\n  ")[2]
        assert re.search(r"holds +\d+ ", told), recipient
    for why in ("the subject's status is not one", "the data are younger than the end", "does not list the code"):
        assert why in screen
    assert len(screen.splitlines()) <= 60, "more than a screenful"


def test_it_tells_the_story_on_postgresql_and_rabbitmq(tmp_path, year, postgres_url, new_virtual_host):
    screen = demo(tmp_path, GATEWAY_DATABASE_URL=postgres_url, GATEWAY_BROKER_URL=new_virtual_host().url)
    assert_tells_the_story(screen, year)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing but the built wheel in it."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in ("gateway", "mappings", "adapters", "fixtures"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("trial_gateway-*.whl")
    with zipfile.ZipFile(wheel) as content:  # what an installer does with a wheel of Python alone
        content.extractall(target)
    return target


def test_it_tells_the_story_embedded_from_an_installed_wheel_in_an_empty_folder(tmp_path, year, installed):
    before = sorted(installed.rglob("*"))
    assert_tells_the_story(demo(tmp_path, PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1"), year)
    assert sorted(installed.rglob("*")) == before, "the demo wrote into the installed package"
