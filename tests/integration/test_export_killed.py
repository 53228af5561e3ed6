"""``kill -9`` while an export is written: whoever goes on ends as an undisturbed run does. On both databases."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.export import Bench, fill

SUBJECTS = 16

WRITER = """
import sys
from gateway.services import export_course, export_parts
from tests.bench.export import Bench

export_course.ENOUGH = export_parts.AT_ONCE = 1

def stop():
    sys.stdout.write("a patient is written\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    return False

bench = Bench(sys.argv[1])
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


def killed(url, patients, *, working):
    """Let a process write so many patients, and kill it: while it waits, or while it works on the next one."""
    words = [sys.executable, "-c", WRITER, url]
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
    for patients, working in ((1, True), (3, False), (2, True)):
        killed(url, patients, working=working)

    bench = Bench(url)
    left = bench.desk.get(id, "bench")
    assert 3 <= left.done < SUBJECTS
    bench.write()

    assert lines(bench, id) == undisturbed(bench)
    bench.store.close()


def undisturbed(bench):
    id = bench.desk.begin(bench.order, "bench")
    bench.write()
    return lines(bench, id)
