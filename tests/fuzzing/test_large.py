"""What is far too large is refused, and costs neither memory nor time beyond its size."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.hl7v2.conformance import check
from gateway.hl7v2.message import parse
from gateway.settings import load
from mappings.translator import SiteTranslator
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import ROOT
from tests.listening import Sender, codes, message, msa

MEGABYTE = b"x" * 1024 * 1024
HUGE = 100
RECEIVED = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def process(tmp_path):
    """A process that listens; ``grown()`` says by how many MB its memory was larger at most than at its start."""
    (tmp_path / "files").mkdir()
    command = (sys.executable, "-m", "tests.fuzzing.receiving", str(tmp_path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:
        at = json.loads(running.stdout.readline())
        start = peak(running.pid)
        yield SimpleNamespace(
            **at, files=tmp_path / "files", grown=lambda: peak(running.pid) - start, place=at["http"].partition("//")[2]
        )
        running.stdin.close()
    assert running.returncode == 0


def peak(pid):
    """Return the most memory (MB) a process has had."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def test_over_mllp_a_field_of_100_mb_is_refused_and_the_connection_stays_usable(process):
    sender = Sender(process.mllp)
    sender.socket.settimeout(PATIENCE)
    sender.socket.sendall(b"\x0b" + message("huge") + b"NTE|1||")
    for _ in range(HUGE):
        sender.socket.sendall(MEGABYTE)
    sender.socket.sendall(b"\r\x1c\r")

    assert [msa(answer) for answer in sender.answers()] == [("AR", "huge")]
    assert codes(sender.ask(message("next"))) == ["AA"]
    assert process.grown() < HUGE
    sender.close()


def test_over_http_a_field_of_100_mb_is_refused_with_an_acknowledgment(process):
    def post(*body, size):
        with closing(http.client.HTTPConnection(process.place, timeout=PATIENCE)) as connection:
            connection.putrequest("POST", "/hl7v2/ehr")
            connection.putheader("Content-Type", "application/hl7-v2")
            connection.putheader("Content-Length", str(size))
            connection.endheaders()
            with suppress(ConnectionError):  # it answers before it has everything
                for part in body:
                    connection.send(part)
            answer = connection.getresponse()
            return answer.status, msa(answer.read())

    start = message("huge") + b"NTE|1||"
    assert post(start, *[MEGABYTE] * HUGE, size=len(start) + HUGE * len(MEGABYTE)) == (413, ("AR", "huge"))
    assert post(message("next"), size=len(message("next"))) == (200, ("AA", "next"))
    assert process.grown() < HUGE


def test_a_batch_file_with_a_field_of_100_mb_loses_no_other_message(process):
    file = process.files / "batch.tmp"
    with file.open("wb") as batch:
        batch.write(b"BHS|^~\\&\r" + message("1") + message("huge") + b"NTE|1||")
        for _ in range(HUGE):
            batch.write(MEGABYTE)
        batch.write(b"\r" + message("2") + b"BTS|3\r")
    file.rename(file.with_suffix(".hl7"))
    receipt = process.files / "failed" / "batch.hl7.receipt.json"
    wait_for(receipt.exists, what="the receipt")

    said = json.loads(receipt.read_text())["messages"]
    assert [(one["control_id"], one["acknowledgment"]) for one in said] == [("1", "AA"), ("huge", "AR"), ("2", "AA")]
    assert process.grown() < 5 * HUGE


# --- translating ----------------------------------------------------------------------------------------------------

HEADS = {"lis": "ORU^R01^ORU_R01", "adt": "ADT^A08", "trials": "CRM^C01"}
PID = "PID|1||4001^^^SANCELSO^MR||Rossi^Ada||20190314|F"
OBR = "OBR|1|A1|F1|HB^Emoglobina^L|||20260301070000||||||||||||||||||F"
OBX = "OBX|1|NM|HB^Emoglobina^L||5,1|g/dL|||||F"
CSR = "CSR|MLD^SC||11^X|4001^^^SANCELSO|||20260301"


def fields(line, number, value):
    """The segment with this in one of its fields."""
    parts = line.split("|")
    parts += [""] * (number + 1 - len(parts))
    parts[number] = value
    return "|".join(parts)


def numbered(text, size):
    """Different values, together so long: ``#`` in each becomes a number."""
    return [text.replace("#", str(number)) for number in range(size // len(text))]


SHAPES = {
    "identifiers": lambda size: ("adt", fields(PID, 3, "~".join(numbered("40#^^^SANCELSO^MR", size)))),
    "names": lambda size: ("adt", fields(PID, 5, "~".join(numbered("Rossi#^Ada", size)))),
    "addresses": lambda size: ("adt", fields(PID, 11, "~".join(numbered("Street #^^Town", size)))),
    "values": lambda size: ("lis", PID, OBR, fields(OBX, 5, "~".join(numbered("5,#", size)))),
    "codes": lambda size: ("lis", PID, OBR, fields(fields(OBX, 2, "CWE"), 5, "~".join(numbered("A#^a^L", size)))),
    "components": lambda size: ("lis", PID, OBR, fields(OBX, 5, "^".join(numbered("5#", size)))),
    "subcomponents": lambda size: ("lis", PID, OBR, fields(OBX, 3, "&".join(numbered("5#", size)))),
    "range": lambda size: ("lis", PID, OBR, fields(OBX, 7, "\u00a0" * size + "x")),
    "dots": lambda size: ("lis", PID, OBR, fields(OBX, 7, "1" + ".." * size + "x")),
    "escapes": lambda size: ("lis", PID, OBR, fields(fields(OBX, 2, "TX"), 5, "\\X41\\" * (size // 5) + "\\X4" * 9)),
    "notes": lambda size: ("lis", PID, OBR, OBX, *numbered("NTE|1||note #", size)),
    "results": lambda size: ("lis", PID, OBR, *numbered("OBX|#|ST|T#^Test^L||x||||||F", size)),
    "orders": lambda size: ("lis", PID, *numbered("OBR|1|A#|F#|HB^Emoglobina^L", size)),
    "patients": lambda size: ("lis", *numbered(f"PID|1||4#^^^SANCELSO^MR\r{OBR}", size)),
    "orders missing": lambda size: ("lis", PID, OBR, *numbered("ORC|RE|A#", size)),
    "broken lines": lambda size: ("lis", PID, OBR, OBX, *numbered("rest # of a line", size)),
    "unknown fields": lambda size: ("lis", PID, OBR, OBX, "ZZZ" + "|a" * (size // 2)),
    "phases": lambda size: ("trials", PID, CSR, *numbered("CSP|P#^Phase^L|20260301|20260302", size)),
}


def raw_of(feed, *lines):
    head = rf"MSH|^~\&|LIS|SANCELSO|GW|U|20260301080000||{HEADS[feed]}|M1|P|2.5.1"
    return feed, "\r".join((head, *lines, "")).encode()


@pytest.fixture(scope="module")
def settings():
    return load(ROOT / "fixtures" / "config", {})


def cost(settings, feed, raw):
    """Processor seconds of this thread for reading, checking and translating once."""
    translator = SiteTranslator(settings.sites, settings.feeds, b"k" * 32)
    start = time.thread_time()
    translator.translate(raw, feed, RECEIVED)
    check(parse(raw))
    return time.thread_time() - start


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_message_costs_grows_no_faster_than_its_size(settings, shape):
    cost(settings, *raw_of(*SHAPES[shape](1000)))
    small = min(cost(settings, *raw_of(*SHAPES[shape](6_000))) for _ in range(2))
    most = 5 * 16 * max(small, 0.001)  # if it were quadratic: 256 times

    large = raw_of(*SHAPES[shape](96_000))
    assert cost(settings, *large) < most or cost(settings, *large) < most, "not even when it is tried again"


@pytest.mark.parametrize(
    ("lines", "failure"),
    [
        ((PID, OBR, fields(OBX, 5, "1~" * 1_000_000)), "OBX-5: more than 100000 repetitions"),
        ((PID, OBR, *["OBX|1"] * 1_000_000), "OBX[99998]: more than 100000 segments"),
        ((PID, OBR, fields(OBX, 5, "1&" * 1_000_000)), ""),
        ((PID, OBR, fields(OBX, 5, "1^" * 1_000_000)), ""),
    ],
    ids=["repetitions", "segments", "subcomponents", "components"],
)
def test_a_million_of_anything_is_translated_or_listed_with_its_place(settings, lines, failure):
    feed, raw = raw_of("lis", *lines)
    made = SiteTranslator(settings.sites, settings.feeds, b"k" * 32).translate(raw, feed, RECEIVED)

    assert (f"{made.failure.place}: {made.failure.what}" if made.failure else "") == failure
