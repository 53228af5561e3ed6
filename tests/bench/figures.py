"""What the benchmarks share: how a figure is written down, and the messages they send."""

from __future__ import annotations

import csv
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

RESULTS = Path("bench-results.jsonl")
OBSERVATIONS = 20
SIZES = (2500, 5000)
BEGAN = datetime(2026, 3, 1, 8, tzinfo=UTC)
DAYS = 30

with Path(__file__).with_name("analytes.csv").open(encoding="utf-8") as table:
    ANALYTES = list(csv.DictReader(table))
FAMILIES = [
    "Rossi",
    "Bianchi",
    "Esposito",
    "Ferrari",
    "Romano",
    "Colombo",
    "Ricci",
    "Marino",
    "Greco",
    "Bruno",
    "Gallo",
    "Conti",
    "Costa",
    "Fontana",
]
GIVEN = [
    "Ada",
    "Luca",
    "Marta",
    "Paolo",
    "Chiara",
    "Andrea",
    "Elena",
    "Marco",
    "Sara",
    "Pietro",
    "Nadia",
    "Yusuf",
    "Ivan",
    "Karim",
    "Mei",
    "Jonas",
]
STREETS = ["Via Roma", "Via Garibaldi", "Corso Italia", "Viale Europa", "Via Dante", "Piazza Duomo", "Via Mazzini"]
TOWNS = ["Milano^^20132", "Monza^^20900", "Bergamo^^24121", "Lodi^^26900", "Pavia^^27100", "Como^^22100"]
WARDS = ["MED", "SURG", "PED", "ONC", "ICU", "HEM"]
DOCTORS = [f"{4700 + n}^{FAMILIES[n % 14]}^{GIVEN[n * 5 % 16]}^^^Dr" for n in range(24)]
METHODS = [
    "IMP^Impedance^L",
    "KIN^Kinetic^L",
    "ISE^Ion selective electrode^L",
    "CLIA^Chemiluminescence^L",
    "TURB^Turbidimetry^L",
]
WORDS = {"qual": ("negative", "trace", "1+", "2+", "3+"), "text": ("yellow", "clear", "O", "A", "B", "AB", "positive")}
NOTES = (
    "Sample slightly haemolysed, potassium may read {} % too high.",
    "Repeated on a second tube after {} minutes, confirmed.",
    "Telephoned to the ward at 10:{:02}.",
    "Previous result of {} days ago confirmed.",
)


def report(figure, value, unit, *, target=None, limit=None):
    """Print one figure and keep it, beside what is wanted and the limit measured in the same run.

    ``limit`` is what it is and how much, as a pair, or a list of such pairs.
    """
    line = {"figure": figure, "value": round(value, 2), "unit": unit}
    if target is not None:
        line["target"] = target
    if limit is not None:
        line["limit"] = {what: round(much, 2) for what, much in ([limit] if isinstance(limit, tuple) else limit)}
    text = json.dumps({**line, "at": datetime.now(UTC).isoformat()})
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    with RESULTS.open("a") as results:
        results.write(text + "\n")


def message(number, patients=997, authority="NORTH", size=SIZES[0]):
    """Return a fictional laboratory message of some ``size`` bytes with 20 observations.

    Every number gives another content: patient, analytes, values, units, ranges, flags, times, notes. The short form
    has what every laboratory sends; the long one local codes beside LOINC, the visit, the order, the specimen, who
    answers for a result and how it was measured, notes, and now and then words or a limit instead of a number.
    """
    draw = random.Random(number)
    at = BEGAN + timedelta(seconds=number * 97 % (DAYS * 86_400), days=-draw.randrange(3))
    rich = size > SIZES[0]
    taken, sent = _time(at), _time(at + timedelta(minutes=draw.randrange(30, 300)))
    lines = [
        f"MSH|^~\\&|LIS|NORTH|GATEWAY|UNIT|{sent}||ORU^R01^ORU_R01|B{number}|P|2.5.1|||AL|NE||8859/1",
        _patient(number % patients, authority),
        *(_visit(number, draw, taken) if rich else ()),
        f"OBR|1|A{number}|F{number}|58410-2^Complete blood count^LN|||{taken}|||||||||||||||{sent}||LAB|F",
    ]
    offered = ANALYTES if rich else ANALYTES[:-10]
    chosen = sorted(draw.sample(range(len(offered)), OBSERVATIONS))
    doctors = draw.sample(DOCTORS, 2)
    for n, analyte in enumerate(chosen, start=1):
        line = _observation(n, offered[analyte], draw, taken, rich)
        lines.append(line + _laboratory(analyte, draw, at, doctors) if rich else line)
        if rich and draw.random() < 0.15:
            lines.append(f"NTE|1|L|{draw.choice(NOTES).format(draw.randrange(1, 60))}")
    if rich:
        lines.append(f"SPM|1|P{number}&LIS^S{number}&LIS||WB^Whole blood^L|||||||||||||{taken}|{sent}")
    return ("\r".join(lines) + "\r").encode("latin-1")


def _time(at):
    return at.strftime("%Y%m%d%H%M%S+0000")


def _patient(number, authority):
    draw = random.Random(-1 - number)
    name = f"{draw.choice(FAMILIES)}^{draw.choice(GIVEN)}^{draw.choice(GIVEN)}"
    born = f"{draw.randrange(1935, 2024)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}"
    home = f"{draw.choice(STREETS)} {draw.randrange(1, 200)}^^{draw.choice(TOWNS)}^ITA"
    telephone = f"^PRN^PH^^39^02^{draw.randrange(10**6, 10**7)}"
    return f"PID|1||{number}^^^{authority}^MR||{name}||{born}|{draw.choice('FM')}|||{home}||{telephone}"


def _visit(number, draw, taken):
    place = f"{draw.choice(WARDS)}^{draw.randrange(1, 40)}^{draw.randrange(1, 4)}"
    yield f"PV1|1|I|{place}||||{draw.choice(DOCTORS)}||||||||||||{number // 3}" + "|" * 25 + taken
    yield f"ORC|RE|A{number}|F{number}||CM||||{taken}"


def _observation(n, analyte, draw, taken, rich):
    """Return the fields every laboratory sends: OBX-1 to OBX-14."""
    kind, value, flag = _value(analyte, draw, rich)
    code, unit = f"{analyte['loinc']}^{analyte['name']}^LN", analyte["unit"]
    if rich:
        code += f"^{analyte['local']}^{analyte['local'].title()} (routine)^L"
        unit = unit and f"{unit}^^UCUM"
    state = "F" if draw.random() < 0.9 else draw.choice("PC")
    return f"OBX|{n}|{kind}|{code}||{value}|{unit}|{_range(analyte, draw)}|{flag}|||{state}|||{taken}"


def _range(analyte, draw):
    """Return OBX-7; ranges differ by age and sex."""
    low, high, spread = analyte["low"], analyte["high"], draw.choice((0, 0, 1, 2))
    if not low:
        return ""
    if spread:
        high = f"{float(high) * (1 + spread / 10):.{analyte['decimals']}f}"
    return f"<{high}" if float(low) == 0 and not spread else f"{low}-{high}"


def _laboratory(analyte, draw, at, doctors):
    """Return OBX-15 to OBX-19: who answers for the result, how and when it was measured."""
    measured = _time(at + timedelta(seconds=draw.randrange(600, 7200)))
    return f"|CORE^Core laboratory^L|{draw.choice(doctors)}|{METHODS[analyte % len(METHODS)]}||{measured}"


def _value(analyte, draw, rich):
    """Return type, value and abnormal flag."""
    kind = analyte["decimals"]
    if kind in WORDS:
        word = draw.choice(WORDS[kind])
        return ("CWE", f"{word.upper()}^{word}^L", "") if kind == "qual" else ("ST", word, "")
    low, high = float(analyte["low"]), float(analyte["high"])
    if rich and draw.random() < 0.03:
        return "SN", f"<^{max(low, high / 100):.{kind}f}", "L"
    if rich and draw.random() < 0.02:
        return "NM", "not measured", ""
    value = max(draw.gauss((low + high) / 2, (high - low) / 3), low / 2)
    return "NM", f"{value:.{kind}f}", _flag(value, low, high)


def _flag(value, low, high):
    far = (high - low) / 2
    if value > high:
        return "HH" if value > high + far else "H"
    if value < low:
        return "LL" if value < low - far else "L"
    return "N"
