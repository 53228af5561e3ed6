"""Writing and fetching a bulk export of everything: resources a second and memory, from a store filled directly.

``python -m tests.bench.export [SUBJECTS [OBSERVATIONS]]``: by default 2,000 subjects with 500 Observations each, in
10 studies. The store is filled in one process, and exported in another, whose memory and CPU time are told.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

from gateway.bootstrap.exporting import WORKERS
from gateway.model.access import Caller, scopes_of
from gateway.model.names import LOINC, UCUM
from gateway.model.recipient import ReleaseRule
from gateway.model.study import Study
from gateway.release.policy import Policy
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.export import ExportDesk
from gateway.services.export_order import Order
from gateway.services.export_parts import Writer
from gateway.services.export_process import ProcessWriters
from gateway.services.exporting import Exporter
from gateway.services.pull import Sight
from gateway.store import create_store
from tests.bench.figures import report
from tests.releasing import (
    EVERYTHING,
    KEYS,
    NOON,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_organization,
    recipient,
    uid,
    version,
)

STUDIES = tuple(Study(f"s{number}", uid(f"study s{number}"), arms=("ARM-A",)) for number in range(10))
ANALYTES = (("718-7", "g/L"), ("6690-2", "10*3/uL"), ("777-3", "10*3/uL"), ("2951-2", "mmol/L"), ("1742-6", "U/L"))
BATCH = 4000
OBSERVATION = (
    "status category code subject encounter specimen effectiveDateTime issued performer valueQuantity referenceRange"
)


def main(subjects=2000, each=500):
    """Fill a store and export it."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        fill(url, subjects, each)
        subprocess.run([sys.executable, "-m", "tests.bench.export", "measure", url], check=True)


def fill(url, subjects, each):
    """Write subjects with Observations, straight into the table of versions."""
    store = create_store(url, KEYS)
    store.upgrade()
    batch = []
    for one in versions(subjects, each):
        batch.append(one)
        if len(batch) == BATCH:
            append(store, batch)
            batch = []
    append(store, batch)
    store.close()


def append(store, batch):
    """Write some versions, as messages with twenty results each would have."""
    with store.begin() as tx:
        tx.resources.append([one.but(message=place // 20 + 1) for place, one in enumerate(batch)])


def versions(subjects, each):
    """Yield what is stored."""
    chosen = random.Random(1)
    yield version(an_organization(identifier=[{"system": "urn:oid:1.2", "value": "LAB"}]))
    yield from (version(a_study(study)) for study in STUDIES)
    for number in range(subjects):
        patient, study = uid(f"patient {number}"), STUDIES[number % len(STUDIES)]
        for body in (a_patient(patient), a_subject(patient, study), a_consent(patient, study), encounter(patient)):
            yield version(body, patient)
        for _ in range(each):
            yield version(observation(chosen, patient), patient)


def encounter(patient):
    """Return a visit."""
    act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    return {
        "resourceType": "Encounter",
        "id": uid(f"encounter {patient}"),
        "status": "finished",
        "class": {"system": act, "code": "AMB"},
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": "2026-03-10T08:00:00+01:00"},
    }


def observation(chosen, patient):
    """Return a result as a laboratory's message becomes one."""
    code, unit = chosen.choice(ANALYTES)
    at = datetime(2026, 3, 2, 8, tzinfo=UTC) + timedelta(minutes=chosen.randrange(20_000))
    category = "http://terminology.hl7.org/CodeSystem/observation-category"

    def quantity(value):
        return {"value": value, "unit": unit, "system": UCUM, "code": unit}

    return {
        "resourceType": "Observation",
        "id": str(UUID(int=chosen.getrandbits(128), version=4)),
        "identifier": [{"system": "https://lab.example/order", "value": str(chosen.getrandbits(40))}],
        "status": "final",
        "category": [{"coding": [{"system": category, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}], "text": "as the laboratory calls it"},
        "subject": {"reference": f"Patient/{patient}"},
        "encounter": {"reference": f"Encounter/{uid(f'encounter {patient}')}"},
        "effectiveDateTime": at.isoformat(),
        "issued": (at + timedelta(hours=1)).isoformat(),
        "performer": [{"reference": f"Organization/{uid('laboratory')}"}],
        "valueQuantity": quantity(chosen.randrange(1, 1000)),
        "referenceRange": [{"low": quantity(1), "high": quantity(900)}],
    }


def writer(url):
    """Return what a worker process writes with."""
    bench = Bench(url, read_only=True)
    return Writer(bench.store, bench.sight)


class Bench:
    """What exports a store that was filled here: one client of every view."""

    def __init__(self, url, *, read_only=False, workers=0):
        self.store = create_store(url, KEYS, read_only=read_only)
        release = dict(EVERYTHING) | {"Observation": ReleaseRule(tuple(OBSERVATION.split()))}
        analyst = recipient(studies=tuple(study.id for study in STUDIES), release=release, kind="pull")
        policy = Policy([analyst], STUDIES, KEYS.pseudonym)
        sight, scope = Sight(policy, Enrolments(policy), Concerns()), "system/*.rs"
        self.sight = sight
        views = tuple((view.recipient, view.study) for view in policy.views)
        self.now = NOON + timedelta(days=9)
        types = tuple(sorted(release))
        self.order = Order("http://bench/$export", "http://bench", "R4", views, (scope,), types, self.now)
        self.caller = Caller("bench", policy.views, scopes_of(scope))
        self.desk = ExportDesk(self.store, sight, lambda: self.now)
        beside = partial(ProcessWriters, partial(writer, url), workers) if workers else None
        self.exporter = Exporter(self.store, sight, lambda: self.now, "bench", beside)

    def write(self):
        """Write what is ordered."""
        while self.exporter.step():
            pass


def measure(url):
    """Export everything that is stored, fetch it, and tell how fast and in how much memory."""
    bench = Bench(url, workers=WORKERS)
    desk, caller = bench.desk, bench.caller
    id = desk.begin(bench.order, "bench")
    memory = Memory()
    wall, cpu = time.perf_counter(), time.process_time()
    bench.write()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    export = desk.get(id, "bench")
    files = desk.files(export, caller)
    count = sum(file.count for file in files)
    report(f"bulk export of {count} resources, written", count / wall, "resources/s", target=20_000)
    report("bulk export, written in a second of CPU time", count / cpu, "resources")
    report("bulk export, most memory while writing", memory.peak, "MB", target=200)

    wall, cpu, size, lines = time.perf_counter(), time.process_time(), 0, 0
    for file in files:
        for piece in desk.fetch(export, file.number, caller)[1]:
            size += sum(map(len, piece.lines))
            lines += sum(text.count(b"\n") for text in piece.lines)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert lines == count
    report(f"bulk export of {size / 1e6:.0f} MB, fetched", count / wall, "resources/s", target=20_000)
    report("bulk export, fetched in a second of CPU time", count / cpu, "resources")
    report("bulk export, most memory while fetching", memory.peak, "MB", target=200)
    memory.stop()
    bench.store.close()


class Memory:
    """Watches how much memory of its own the process has: pages of the database file that are mapped do not count."""

    def __init__(self):
        self.peak = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ends.wait(0.05):
            own = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
            self.peak = max(self.peak, int(own[1]) / 1024)

    def stop(self):
        self._ends.set()
        self._thread.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
