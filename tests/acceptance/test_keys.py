"""Encryption keys rotate under a gateway that runs, and without keys none starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.settings import read_keys
from tests.command import gateway
from tests.contracts.waiting import PATIENCE, wait_for


@pytest.fixture(scope="module")
def deployment(deploy, year):
    """A process on PostgreSQL that has translated and sent a part of the year, and goes on running."""
    with deploy() as made:
        made.play(year[:8])
        yield made


def keys(deployment, *words):
    done = gateway("keys", *words, environment=deployment.environment)
    assert done.status == 0, done.err
    return done


def rows_by_key(deployment):
    return {record["key"]: record["rows"] for record in keys(deployment, "list", "--json").records}


def test_keys_rotate_while_the_gateway_works(deployment, year):
    assert list(rows_by_key(deployment)) == ["k1"]

    keys(deployment, "rotate")
    assert rows_by_key(deployment)["k1"] == 0
    deployment.play(year[8:12])
    after = rows_by_key(deployment)
    os.utime(deployment.settings.key_file, (0, 0))
    keys(deployment, "drop", "k1")

    assert after["k1"] == 0
    assert list(read_keys(deployment.settings.key_file).encryption) == ["k2"]
    deployment.play(year[12:14])
    deployment.stop()
    deployment.restart("gateway")
    wait_for(deployment.is_settled)
    assert "KeysMissing" not in deployment.logs


@pytest.mark.parametrize("named", ["", "no-such-file.json"])
def test_without_keys_nothing_starts_outside_the_demo(deployment, tmp_path, named):
    environment = deployment.environment | {"GATEWAY_KEY_FILE": named and str(tmp_path / named)}

    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.returncode == 1
    assert "gateway keys create" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
