"""SIGTERM under load, and while starting: every process drains and ends in time, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from fixtures.story import decides
from tests.acceptance.test_crashes import assert_same_end, processes_of
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import Deployment

SERVE = """
import sys
from gateway.cli import main, run
run.STOP_SECONDS = {seconds}
sys.argv = ["gateway", "serve"]
main()
"""
"""``gateway serve`` that gives draining less time than it has, so that a test need not wait as long, or more."""


@pytest.mark.parametrize("embedded_place", [True, False], ids=["one-process-embedded", "five-processes-on-servers"])
def test_sigterm_under_load_drains_in_time_though_recipients_hang(embedded_place, deploy, year, embedded):
    first, last = longest_run(year)
    with deploy(embedded=embedded_place, processes=1 if embedded_place else 5) as deployment:
        deployment.play(year[:first])
        terminate_under_load(deployment, year[first:last])
        deployment.play(year[last:])
        inside = deployment.trial_systems.queues if embedded_place else ()  # nobody outside the process reads these
        seen = {id: held for id, held in embedded["received"].items() if id not in inside}
        assert_same_end(deployment, embedded | {"received": seen})
        assert "lost 0, doubled 0" in deployment.command("reconcile")
        deployment.stop()
        assert "Traceback" not in deployment.logs


def test_sigterm_while_starting_is_heard(tmp_path, new_postgres_database, new_virtual_host):
    with starting(tmp_path, new_postgres_database(), new_virtual_host().url, PATIENCE) as (run, go_on):
        run.terminate()
        go_on()
        _, words = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, words
        assert "the gateway has stopped" in words
        wait_for(lambda: not processes_of(run.pid), what="the end of what it had started")


def test_what_never_answers_does_not_hold_a_process_that_is_to_end(tmp_path, new_postgres_database):
    with starting(tmp_path, new_postgres_database(), "", 0.3) as (run, _):
        run.terminate()
        _, words = run.communicate(timeout=PATIENCE)
        assert run.returncode == 1
        assert "could not drain in time" in words
        assert "Traceback" not in words


def terminate_under_load(deployment, messages):
    """End every process while attempts hang and messages come in, and start them again; all messages are answered."""
    few = len(messages) // 3
    with ThreadPoolExecutor(1) as sender:
        before = deployment.trial_systems.taken
        with deployment.trial_systems.silent():
            for message in messages[:few]:
                deployment.send(message)
            wait_for(lambda: deployment.trial_systems.taken != before, what="an attempt that hangs")
            sent = sender.submit(lambda: [deployment.send(message) for message in messages[few:]])
            deployment.stop()
        deployment.run()
        sent.result()


def longest_run(year):
    """Where the most messages follow one another that come in over the network and decide nothing."""
    fit = [message.feed != "ankara" and not decides(message) for message in year]
    ends = [place for place, good in enumerate([*fit, False]) if not good]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return max(zip(starts, ends, strict=True), key=lambda run: run[1] - run[0])


@contextmanager
def starting(folder, database, broker, seconds):
    """Run a gateway that may drain for so many seconds; its start waits for a locked table until the second is called.

    The process leads a session of its own; it is killed at the end if it still runs.
    """
    deployment = Deployment(folder, database_url=database, broker_url=broker)
    deployment.trial_systems.close()
    deployment.command("db", "upgrade")
    with psycopg.connect(database) as locking:
        locking.execute("LOCK TABLE alembic_version")
        run = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(seconds=seconds)],
            env=deployment.environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for(lambda: is_held_up(database), what="the start at the locked table")
            yield run, locking.rollback
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate()


def is_held_up(database):
    """Whether somebody waits for a lock in a database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database) as looking:
        return looking.execute(query).fetchone()[0] > 0
