"""Bytes to checked, valid FHIR JSON on one core: 3,000 different messages of 20 observations, short and long.

``python -m tests.bench translate``. The site declares its authorities and maps a third of its codes. What a worker
process hands back is measured too: pickled there, unpickled here.
"""

from __future__ import annotations

import gc
import pickle
import statistics
import time
from datetime import UTC, datetime
from decimal import Decimal

from gateway.model.site import Authority, CodeMapEntry, Feed, Site
from mappings.translator import SiteTranslator
from tests.bench.figures import ANALYTES, SIZES, message, report

MESSAGES = 3000
RUNS = 5
CHUNK = 16
"""Messages a worker process hands back at once."""


def code_map():
    """Return rows that map every third analyte, with bounds of plausibility."""
    for analyte in ANALYTES[::3]:
        if analyte["unit"]:
            coding = ("http://loinc.org", analyte["loinc"], analyte["name"])
            yield CodeMapEntry(
                analyte["loinc"], (coding,), "LN", ucum=analyte["unit"], low=Decimal(0), high=Decimal(10**7)
            )


def north():
    """Return the site that sends."""
    authorities = {"NORTH": Authority("urn:oid:2.999"), "LIS": Authority("urn:oid:2.999.2", joins=False)}
    return Site("north", "North", "Europe/Rome", authorities=authorities, primary=("NORTH",), codes=tuple(code_map()))


def measure(size):
    """Report the figures for messages of one size."""
    translator = SiteTranslator({"north": north()}, {"lis": Feed("lis", "north")}, b"k" * 32)
    now = datetime.now(UTC)
    for number in range(200):
        assert translator.translate(message(-1 - number, size=size), "lis", now).failure is None
    rates = []
    for run in range(RUNS):
        messages = [message(run * MESSAGES + number, size=size) for number in range(MESSAGES)]
        gc.collect()
        began = time.process_time()
        resources = sum(len(translator.translate(raw, "lis", now).statements) for raw in messages)
        rates.append(MESSAGES / (time.process_time() - began))
    name = f"translate.one_core.{size / 1000:g}_kB"
    report(f"{name}.median", statistics.median(rates), "messages/CPU-second")
    report(f"{name}.resources", resources / MESSAGES, "resources/message")
    made = [translator.translate(raw, "lis", now) for raw in messages[:CHUNK]]
    began = time.process_time()
    for _ in range(50):
        chunk = pickle.dumps(made)
    there = time.process_time()
    for _ in range(50):
        back = pickle.loads(chunk)
    report(f"{name}.pickle", (there - began) / 50 / CHUNK * 1e6, "CPU-us/message")
    report(f"{name}.unpickle", (time.process_time() - there) / 50 / CHUNK * 1e6, "CPU-us/message")
    assert back == made


def main():
    """Run the benchmark."""
    for size in SIZES:
        measure(size)


if __name__ == "__main__":
    main()
