"""``kill -9`` while an export is written: whoever goes on ends as an undisturbed run does. On both databases."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from gateway.services import export_course, export_parts
from gateway.services.export_process import ProcessWriters
from gateway.services.exporting import ExportingSettings
from tests.bench.export import Bench, fill

SUBJECTS = 16

WRITER = """
import sys
from gateway.services import export_course, export_parts
from gateway.services.exporting import ExportingSettings
from tests.bench.export import Bench

export_course.ENOUGH = export_parts.AT_ONCE = 1

def stop():
    sys.stdout.write("a patient is written\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    return False

bench = Bench(sys.argv[1], workers=int(sys.argv[2]))
bench.exporter.settings = ExportingSettings(alone=1)
bench.exporter.step(stop)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path / 'gateway.db'}"
    else:
        found = request.getfixturevalue("new_postgres_database")()
    fill(found, SUBJECTS, 1)
    return found


def killed(url, patients, *, working, workers):
    """Let a process write so many patients, and kill it: while it waits, or while it works on the next one."""
    words = [sys.executable, "-c", WRITER, url, str(workers)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(patients):
            assert "written" in next(line for line in process.stdout if "patient" in line)
            process.stdin.write("go on\n")
            process.stdin.flush()
        if not working:
            assert process.stdout.readline()
        process.kill()


def lines(bench, id):
    export = bench.desk.get(id, "bench")
    assert export.state == "done"
    found = []
    for file in bench.desk.files(export, bench.caller):
        _, pieces = bench.desk.fetch(export, file.number, bench.caller)
        found += [(file.type, line) for piece in pieces for text in piece.lines for line in text.splitlines()]
    return sorted(found)


def test_an_export_goes_on_where_its_process_was_killed(url):
    bench = Bench(url)
    id = bench.desk.begin(bench.order, "bench")
    bench.store.close()
    for patients, working, workers in ((1, True, 0), (3, False, 2), (2, True, 2)):
        killed(url, patients, working=working, workers=workers)

    bench = Bench(url)
    left = bench.desk.get(id, "bench")
    assert 3 <= left.done < SUBJECTS
    bench.write()

    assert lines(bench, id) == undisturbed(bench)
    bench.store.close()


def beside(url, workers):
    bench = Bench(url, workers=workers)
    bench.exporter.settings = ExportingSettings(alone=1)
    return bench


def undisturbed(bench):
    id = bench.desk.begin(bench.order, "bench")
    bench.exporter.beside = None
    bench.write()
    return lines(bench, id)


def test_worker_processes_write_what_one_process_does_and_are_replaced_when_they_die(url, a_patient_at_a_time):
    bench = beside(url, workers=2)
    id = bench.desk.begin(bench.order, "bench")
    killed = set()

    def stop():
        begun = multiprocessing.active_children()
        if len(begun) == 2 and len(killed) < 2 and not killed & {one.pid for one in begun}:
            begun[0].kill()
            killed.add(begun[0].pid)
        return False

    bench.exporter.step(stop)

    assert (len(killed), multiprocessing.active_children()) == (2, [])
    assert lines(bench, id) == undisturbed(bench)
    bench.store.close()


def test_an_export_that_kills_every_process_fails(url, a_patient_at_a_time):
    bench = beside(url, workers=1)
    bench.exporter.beside = lambda: ProcessWriters(Dying, 1)
    id = bench.desk.begin(bench.order, "bench")

    bench.exporter.step()

    assert bench.desk.get(id, "bench").state == "failed"
    assert not bench.exporter.step()
    bench.store.close()


class Dying:
    """Writes nothing, and takes its process with it."""

    def write(self, *_):
        os._exit(1)


@pytest.fixture
def a_patient_at_a_time(monkeypatch):
    monkeypatch.setattr(export_course, "ENOUGH", 1)
    monkeypatch.setattr(export_parts, "AT_ONCE", 1)
