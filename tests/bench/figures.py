"""What the benchmarks share: how a figure is written down, and the messages they send."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

RESULTS = Path("bench-results.jsonl")
OBSERVATIONS = 20
BEGAN = datetime(2026, 3, 1, 8, tzinfo=UTC)


def report(figure, value, unit):
    """Print one figure and keep it."""
    line = json.dumps({"figure": figure, "value": round(value, 2), "unit": unit, "at": datetime.now(UTC).isoformat()})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    with RESULTS.open("a") as results:
        results.write(line + "\n")


def message(number, patients=997, authority="NORTH"):
    """Return a fictional laboratory message of some 2 kB with 20 observations; every number gives another content."""
    at = (BEGAN + timedelta(seconds=number)).strftime("%Y%m%d%H%M%S")
    lines = [
        f"MSH|^~\\&|LIS|NORTH|GATEWAY|UNIT|{at}||ORU^R01^ORU_R01|B{number}|P|2.5.1",
        f"PID|1||{number % patients}^^^{authority}^MR||Doe^Jane||19700101|F",
        f"OBR|1|A{number}|F{number}|58410-2^Blood count^LN|||{at}|||||||||||||||{at}|||F",
    ]
    lines += [
        f"OBX|{n}|NM|{700 + n}-7^Analyte {n}^LN||{n + number % 7}.{number % 10}0|10*9/L^^UCUM|1.0-9.0|N|||F|||{at}"
        for n in range(1, OBSERVATIONS + 1)
    ]
    return ("\r".join(lines) + "\r").encode()
