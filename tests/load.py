"""A load whose end is known beforehand: patients on one study, and their results, corrected again and again.

The value of a result says whose it is and which version: what a far end holds, and in which order it came, can be read
from the values alone, whatever ids stand beside them.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle

from fixtures.story import Played
from tests.listening import Sender, msa

ENROLLED_AT = datetime(2026, 2, 1, 8, tzinfo=UTC)
MEASURED_AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
ACCEPTED = frozenset({"AA", "CA"})
CODES = frozenset({"777-3", "GT-ARSA-PBMC"})
"""Of the results: of the hospital's laboratory (MLLP), and of the research laboratory (HTTP)."""

MONITOR = """
id = "monitor"
kind = "amqp"
studies = ["mld"]
identity = "pseudonymous"

[release.Patient]
elements = ["identifier"]

[release.ResearchSubject]
elements = ["identifier", "status", "period", "study", "individual"]

[release.ResearchStudy]
elements = ["identifier", "title", "status"]

[release.Observation]
elements = ["status", "code.coding", "subject", "effectiveDateTime", "valueQuantity"]
"""
"""The file of a recipient that reads results from a queue."""


def enrolment(patient):
    """The registration of a patient on a study, with consent to every purpose."""
    at = f"{ENROLLED_AT + timedelta(seconds=patient):%Y%m%d%H%M%S}"
    lines = [
        f"MSH|^~\\&|CTO|SANCELSO|GATEWAY|CRU|{at}||CRM^C01|E{patient}|P|2.5.1",
        f"PID|1||{patient}^^^SANCELSO^MR||Doe^Jane||19700101|F",
        f"CSR|MLD||SC|MLD-{patient}||20260201|||20260201|E",
    ]
    return Played(f"enrolment-{patient}", "trials", _raw(lines))


def result(patient, order, version):
    """A version of a result; odd orders are of the hospital's laboratory, even ones of the research laboratory."""
    at = f"{MEASURED_AT + timedelta(minutes=order, seconds=version):%Y%m%d%H%M%S}"
    feed, code, value, unit = "lis", "PLT^Piastrine^L", f"{value_of(patient, order, version)}", "x10e3/uL"
    if order % 2 == 0:
        feed, code, unit = "research", "ARSAPB^Arylsulfatase A^RL", "nmol/h/mg prot"
    else:
        value = value.replace(".", ",")
    status = "F" if version == 1 else "C"
    lines = [
        f"MSH|^~\\&|LAB|SANCELSO|GATEWAY|CRU|{at}||ORU^R01|R{patient}.{order}.{version}|P|2.5.1",
        f"PID|1||{patient}^^^SANCELSO^MR||Doe^Jane||19700101|F",
        f"OBR|1||{feed}{patient}-{order}|{code}|||20260301080000||||||||||||||||||{status}",
        f"OBX|1|NM|{code}||{value}|{unit}|||||{status}",
    ]
    return Played(f"result-{patient}.{order}.{version}", feed, _raw(lines))


def value_of(patient, order, version):
    """The value that stands for a version of a result."""
    return Decimal(f"{patient}.{order:02}{version:04}1")


def version_of(value):
    """Whose value it is: (patient, order) and the version."""
    patient, digits = str(value).split(".")
    return (int(patient), int(digits[:2])), int(digits[2:6])


def _raw(lines):
    return ("\r".join(lines) + "\r").encode()


# --- what arrived


def values(resources):
    """Return the values of the load's results among resources, in their order."""
    return [resource["valueQuantity"]["value"] for resource in resources if _is_result(resource)]


def histories(found):
    """Return the versions of each result, (patient, order) -> versions, in the order their values stand."""
    versions = defaultdict(list)
    for value in found:
        result, version = version_of(value)
        versions[result].append(version)
    return dict(versions)


def _is_result(resource):
    if not resource or resource["resourceType"] != "Observation":
        return False
    return any(coding.get("code") in CODES for coding in resource["code"]["coding"])


# --- sending


class Feeder:
    """Sends the way hospital systems do: a message until it is acknowledged, over MLLP to one of some ports.

    ``post`` sends what comes in over HTTP and returns MSA-1, empty without an answer. ``resent`` counts the attempts
    that were not answered.
    """

    def __init__(self, ports, post, give_up):
        self._ports = {feed: cycle(of_feed) for feed, of_feed in ports.items()}
        self._post = post
        self._give_up: threading.Event = give_up
        self._open = {}
        self.resent = 0

    def send(self, message):
        """Send until answered and return MSA-1; empty when told to give up before."""
        while not (code := self._try(message)):
            self.resent += 1
            if self._give_up.wait(0.1):
                return ""
        return code

    def close(self):
        for sender in self._open.values():
            sender.close()
        self._open.clear()

    def _try(self, message):
        if message.feed not in self._ports:
            return self._post(message)
        try:
            if message.feed not in self._open:
                self._open[message.feed] = Sender(next(self._ports[message.feed]))
            for answer in self._open[message.feed].ask(message.raw):
                return msa(answer)[0]
        except OSError:
            pass
        if message.feed in self._open:
            self._open.pop(message.feed).close()
        return ""
