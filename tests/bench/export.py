"""Writing and fetching a bulk export of everything: resources a second and memory, from a store filled directly.

``python -m tests.bench.export [SUBJECTS [MESSAGES]]``: by default 2,000 subjects with 25 messages of 20 Observations
each, in 10 studies. The store is filled in one process, and exported in others, whose memory and CPU time are told:
on a machine that others use too, the CPU time says more than the clock.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

from gateway.model.access import Caller, scopes_of
from gateway.model.recipient import ReleaseRule
from gateway.model.study import Study
from gateway.ports import ChangeRange
from gateway.release.policy import Policy
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.export import ExportDesk
from gateway.services.export_order import Order
from gateway.services.export_parts import AT_ONCE
from gateway.services.exporting import Exporter
from gateway.services.pull import Sight
from gateway.store import create_store
from tests.bench import stored
from tests.bench.figures import report
from tests.releasing import EVERYTHING, KEYS, NOON, a_study, recipient, uid, version

STUDIES = tuple(Study(f"s{number}", uid(f"study s{number}"), arms=("ARM-A",)) for number in range(10))
OBSERVATION = (
    "status category code subject encounter specimen effectiveDateTime issued performer valueQuantity referenceRange"
)


def main(subjects=2000, messages=stored.MESSAGES):
    """Fill a store and export it."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        fill(url, subjects, messages)
        subprocess.run([sys.executable, "-m", "tests.bench.export", "measure", url], check=True)


def fill(url, subjects, messages):
    """Write subjects with messages of twenty Observations, straight into the table of versions."""
    store = create_store(url, KEYS)
    store.upgrade()
    with store.begin() as tx:
        tx.resources.append([version(a_study(study)) for study in STUDIES])
    stored.fill(store, STUDIES, subjects, messages)
    store.close()


class Bench:
    """What exports a store that was filled here: one client of every view."""

    def __init__(self, url):
        self.store = create_store(url, KEYS)
        release = dict(EVERYTHING) | {"Observation": ReleaseRule(tuple(OBSERVATION.split()))}
        analyst = recipient(studies=tuple(study.id for study in STUDIES), release=release, kind="pull")
        policy = Policy([analyst], STUDIES, KEYS.pseudonym)
        sight, scope = Sight(policy, Enrolments(policy), Concerns()), "system/*.rs"
        views = tuple((view.recipient, view.study) for view in policy.views)
        self.now = NOON + timedelta(days=9)
        types = tuple(sorted(release))
        self.order = Order("http://bench/$export", "http://bench", "R4", views, (scope,), types, self.now)
        self.caller = Caller("bench", policy.views, scopes_of(scope))
        self.desk = ExportDesk(self.store, sight, lambda: self.now)
        self.exporter = Exporter(self.store, sight, lambda: self.now, "bench")

    def write(self):
        """Write what is ordered."""
        while self.exporter.step():
            pass


def measure(url):
    """Export everything that is stored, fetch it, and tell how fast and in how much memory."""
    bench = Bench(url)
    desk, caller = bench.desk, bench.caller
    id = desk.begin(bench.order, "bench")
    memory = Memory()
    wall, cpu = time.perf_counter(), cpu_time()
    bench.write()
    wall, cpu, peak = time.perf_counter() - wall, cpu_time() - cpu, memory.peak
    limit = "stored pages decrypted and put one behind the other, a second of CPU time", bare_rate(bench)
    export = desk.get(id, "bench")
    files = desk.files(export, caller)
    count = sum(file.count for file in files)
    report(f"bulk export of {count} resources, written", count / wall, "resources/s", target=20_000, limit=limit)
    report("bulk export, written in a second of CPU time", count / cpu, "resources", limit=limit)
    report("bulk export, most memory while writing", peak, "MB", target=200)

    wall, cpu, size, lines = time.perf_counter(), cpu_time(), 0, 0
    for file in files:
        for piece in desk.fetch(export, file.number, caller)[1]:
            size += sum(map(len, piece.lines))
            lines += sum(text.count(b"\n") for text in piece.lines)
    wall, cpu = time.perf_counter() - wall, cpu_time() - cpu
    assert lines == count
    report(f"bulk export of {size / 1e6:.0f} MB, fetched", count / wall, "resources/s", target=20_000, limit=limit)
    report("bulk export, fetched in a second of CPU time", count / cpu, "resources", limit=limit)
    report("bulk export, most memory since it began", memory.peak, "MB", target=200)
    memory.stop()
    bench.store.close()


def bare_rate(bench):
    """Resources of patients read in a second of CPU time where nobody decides on them and nothing is kept."""
    with bench.store.begin(write=False) as tx:
        patients = sorted({one.patient for one in tx.resources.of_type("ResearchSubject")})
    count, cpu = 0, cpu_time()
    for start in range(0, len(patients), AT_ONCE):
        with bench.store.begin(write=False) as tx:
            found = tx.resources.of_patients([ChangeRange(one) for one in patients[start : start + AT_ONCE]])
        for heads in found:
            count += b"\n".join([head.body for head in heads] + [b""]).count(b"\n")
    return count / (cpu_time() - cpu)


def cpu_time():
    """Seconds of CPU time of this process and of the processes it has ended."""
    spent = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


class Memory:
    """Watches how much memory of their own this process and its children have.

    Pages of the database file that are mapped do not count.
    """

    def __init__(self):
        self.peak = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ends.wait(0.05):
            begun = [id for path in Path("/proc/self/task").glob("*/children") for id in path.read_text().split()]
            self.peak = max(self.peak, sum(map(self._own, ("self", *begun))))

    def _own(self, process):
        try:
            own = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            own = None  # it has ended
        return int(own[1]) / 1024 if own else 0

    def stop(self):
        self._ends.set()
        self._thread.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
