"""A database of the version before, left in the middle of its work: it is upgraded, and the work is finished."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys

import psycopg
import pytest

from gateway.fhir import codec
from tests.contracts.waiting import PATIENCE
from tests.deployment import ROOT, Deployment
from tests.ends import differences
from tests.upgrade.make import RECEIVED

LEFT = ROOT / "tests" / "upgrade"
BEFORE = sorted(folder.name for folder in LEFT.iterdir() if folder.name[0].isdigit())
"""The versions whose databases are kept."""

each_version_before = pytest.mark.parametrize("version", BEFORE)

pytestmark = pytest.mark.usefixtures("captured")


@each_version_before
def test_an_embedded_database_is_upgraded_and_its_work_finished(tmp_path, version, year, embedded):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gateway.db").write_bytes(content(version, "gateway.db"))
    left = codec.decode(content(version, "sqlite.json"))
    assert_the_year_is_finished(Deployment(tmp_path), left, year, embedded)


@each_version_before
def test_a_server_database_is_upgraded_and_its_work_finished(
    tmp_path, version, year, embedded, new_postgres_database, *, new_virtual_host
):
    url = restored(version, new_postgres_database())
    left = codec.decode(content(version, "postgres.json"))
    deployment = Deployment(tmp_path, database_url=url, broker_url=new_virtual_host().url)
    assert_the_year_is_finished(deployment, left, year, embedded)


def test_a_database_that_waits_for_its_upgrade_is_not_served(tmp_path, new_postgres_database):
    url = restored(BEFORE[-1], new_postgres_database())
    status, words = served(Deployment(tmp_path, database_url=url))
    assert status == 1
    assert "older than the program" in words
    assert "gateway db upgrade" in words


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_newer_than_the_program_is_not_served(tmp_path, kind, new_postgres_database):
    url = new_postgres_database() if kind == "postgresql" else ""
    deployment = Deployment(tmp_path, database_url=url)
    deployment.command("db", "upgrade")
    renumber(url, tmp_path / "data" / "gateway.db")
    status, words = served(deployment)
    assert status == 1
    assert "newer than the program" in words
    assert "Traceback" not in words


def assert_the_year_is_finished(deployment, left, year, embedded):
    """Go on with the year where the version before left it; the end is the end of a year that nobody interrupted.

    What was under way when the old version was killed is sent again, and the recipient has it once.
    """
    deployment.trial_systems.hold(left["received"])
    with deployment:
        deployment.settle()
        deployment.play(year[RECEIVED:])
        end = deployment.end
        readers = deployment.trial_systems.queues if not deployment.broker_url else ()
        received = {id: held for id, held in embedded["received"].items() if id not in readers}
        assert differences(end, embedded | {"received": received}) == []
        deployment.stop()


def content(version, name):
    return gzip.decompress((LEFT / version / f"{name}.gz").read_bytes())


def restored(version, url):
    """Fill an empty database with what the version before left in its own."""
    lines = content(version, "gateway.sql").decode().splitlines()
    script = "\n".join(line for line in lines if not line.startswith("\\"))
    with psycopg.connect(url) as connection:
        connection.execute(script.encode())
    return url


def renumber(url, file):
    """Leave the database as a later version would."""
    statement = "UPDATE alembic_version SET version_num = '9999'"
    if url:
        with psycopg.connect(url) as connection:
            connection.execute(statement)
    else:
        with sqlite3.connect(file) as connection:
            connection.execute(statement)


def served(deployment):
    """Start ``gateway serve`` on a deployment that it must refuse; return its exit status and its words."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "serve"],
            env=os.environ | deployment.environment,
            cwd=deployment.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        deployment.trial_systems.close()
    return done.returncode, done.stderr
