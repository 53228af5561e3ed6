"""The database stopped, crashed, failing now and then, out of connections, its disk full: no answer it cannot keep."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import psycopg
import pytest

from fixtures.story import decides
from tests.acceptance.test_crashes import assert_same_end
from tests.contracts.waiting import wait_for
from tests.deployment import Deployment
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.usefixtures("captured")

FAILING = """
CREATE FUNCTION fail_now_and_then() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.01 THEN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF;
  RETURN NULL;
END $$
"""
WELL = """
CREATE OR REPLACE FUNCTION fail_now_and_then() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
"""


class Server:
    """A PostgreSQL of this module's own, to be ill-treated; the gateway is no superuser there."""

    def __init__(self):
        self._server = PostgresServer()
        self._owner = self._server.database()
        self.run("CREATE ROLE unit LOGIN", "ALTER SCHEMA public OWNER TO unit")
        self.url = self._owner.replace("gateway@", "unit@")

    def run(self, *statements):
        with psycopg.connect(self._owner, autocommit=True) as connection:
            return [connection.execute(statement) for statement in statements]

    def close(self):
        self._server.remove()

    @contextmanager
    def stopped(self):
        """Inside, the server is shut down as an administrator does."""
        self._server.stop()
        yield
        self._server.start()

    @contextmanager
    def crashed(self):
        """Inside, the server has ended without tidying up."""
        self._server.stop(at_once=True)
        yield
        self._server.start()

    @contextmanager
    def without_connections(self):
        """Inside, the server has none left for the gateway."""
        self.run("ALTER ROLE unit CONNECTION LIMIT 0")
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'unit'")
        of_the_gateway = "SELECT FROM pg_stat_activity WHERE usename = 'unit'"
        wait_for(lambda: not self.run(of_the_gateway)[0].fetchall(), what="the end of its connections")
        yield
        self.run("ALTER ROLE unit CONNECTION LIMIT -1")

    @contextmanager
    def failing(self):
        """Inside, one statement that writes in a hundred fails."""
        names = [row[0] for row in self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")[0]]
        self.run(FAILING)
        for name in names:
            self.run(
                f"CREATE TRIGGER failing AFTER INSERT OR UPDATE OR DELETE ON {name}"
                " FOR EACH STATEMENT EXECUTE FUNCTION fail_now_and_then()"
            )
        yield
        self.run(WELL)  # taking the triggers away would wait for whoever works on the tables, and they for us


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def test_whatever_happens_to_postgresql_nothing_is_promised_that_it_cannot_keep(
    server, tmp_path, year, embedded, new_virtual_host
):
    troubles = ("stopped", "crashed", "without_connections")
    points = [number for number, one in enumerate(year) if one.feed != "ankara" and not decides(one)]
    with Deployment(tmp_path, database_url=server.url, broker_url=new_virtual_host().url) as deployment:
        start = 0
        for place, trouble in enumerate(troubles, start=1):
            point = points[place * len(points) // (len(troubles) + 1)]
            deployment.play(year[start:point], settled=False)
            with getattr(server, trouble)():
                assert deployment.try_once(year[point]) not in {"AA", "CA"}, trouble
            start = point
        deployment.play(year[start:])
        assert_same_end(deployment, embedded)
        deployment.stop()


def test_statements_that_fail_now_and_then_lose_nothing(server, tmp_path, year, embedded, new_virtual_host):
    with Deployment(tmp_path, database_url=server.url, broker_url=new_virtual_host().url) as deployment:
        with server.failing():
            deployment.play(year)
        deployment.settle()
        assert_same_end(deployment, embedded)
        deployment.stop()


def test_a_full_disk_under_sqlite_stops_the_promises_and_nothing_else(year, embedded, deploy):
    point = next(number for number, one in enumerate(year) if number > len(year) // 2 and not decides(one))
    with deploy(embedded=True) as deployment:
        deployment.play(year[:point])
        with disk_full(deployment.members["gateway"].running.pid):
            assert deployment.try_once(year[point]) not in {"AA", "CA"}
        deployment.play(year[point:])
        inside = dict.fromkeys(deployment.trial_systems.queues)  # nobody outside the process reads these
        seen = {id: held for id, held in embedded["received"].items() if id not in inside}
        assert_same_end(deployment, embedded | {"received": seen})
        deployment.stop()


@contextmanager
def disk_full(process):
    """Inside, no file of the process can grow beyond its first page, as if the disk had no room for the rest."""
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.prlimit(process, resource.RLIMIT_FSIZE, before)
