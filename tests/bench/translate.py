"""Bytes to checked, valid FHIR JSON on one core: 3,000 different messages of 20 observations.

``python -m tests.bench.translate``
"""

from __future__ import annotations

import gc
import statistics
import time
from datetime import UTC, datetime

from gateway.model.site import Authority, Feed, Site
from mappings.translator import SiteTranslator
from tests.bench.figures import message, report

MESSAGES = 3000
RUNS = 5


def main():
    """Run the benchmark."""
    site = Site("north", "North", "Europe/Rome", authorities={"NORTH": Authority("urn:oid:2.999")}, primary=("NORTH",))
    translator = SiteTranslator({"north": site}, {"lis": Feed("lis", "north")}, b"k" * 32)
    now = datetime.now(UTC)
    for number in range(50):
        assert translator.translate(message(number), "lis", now).failure is None
    rates = []
    for run in range(RUNS):
        messages = [message(run * MESSAGES + number) for number in range(MESSAGES)]
        gc.collect()
        began = time.process_time()
        resources = sum(len(translator.translate(raw, "lis", now).statements) for raw in messages)
        rates.append(MESSAGES / (time.process_time() - began))
    report("translate.one_core.median", statistics.median(rates), "messages/CPU-second")
    report("translate.one_core.resources", resources / MESSAGES, "resources/message")


if __name__ == "__main__":
    main()
