"""A database with many results, written straight into the tables of versions: subjects of ten studies.

Each subject has a Patient, a ResearchSubject, a Consent and messages of twenty Observations, with the DiagnosticReport,
the Specimen and the Provenance that a laboratory's message becomes; a page for each message, as when it came in.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gateway.fhir import codec
from gateway.model.names import LOINC, SUBJECT_NUMBER, UCUM
from gateway.model.resource import ResourceVersion
from tests.releasing import a_consent, a_patient, a_subject, uid

EACH = 20
"""Observations of a message."""

MESSAGES = 25
"""Messages of a subject."""

CODES = (
    ("718-7", "g/L"), ("6690-2", "10*3/uL"), ("777-3", "10*3/uL"), ("2951-2", "mmol/L"), ("1742-6", "U/L"),
    ("2823-3", "mmol/L"), ("2160-0", "umol/L"), ("1975-2", "umol/L"),
)  # fmt: skip
"""A subject has each about sixty times."""

RARE = "26464-8"
"""A code that one subject in two hundred has, once."""

BEGAN = datetime(2026, 3, 2, 8, tzinfo=UTC)
LABORATORY = uid("laboratory")
_ACT = "http://terminology.hl7.org/CodeSystem"
_BATCH = 200
"""Messages written together."""


def fill(store, studies, subjects, messages=MESSAGES):
    """Store the subjects, the one with number n in study n modulo their number."""
    batch, message = [], 0
    batch.append(_version(_laboratory(), "", 1, BEGAN))
    for number in range(subjects):
        patient, study = uid(f"patient {number}"), studies[number % len(studies)]
        message += 1
        batch += [_version(body, patient, message, BEGAN) for body in enrolment(number, patient, study)]
        for place in range(messages):
            message += 1
            at = BEGAN + timedelta(days=place, minutes=number % 600)
            batch += [_version(body, patient, message, at) for body in results(number, patient, place, at)]
            if message % _BATCH == 0:
                batch = _written(store, batch)
    _written(store, batch)


def enrolment(number, patient, study):
    """Return what makes a person a subject."""
    own = [{"system": f"{SUBJECT_NUMBER}/{study.id}", "value": f"{study.id.upper()}-{number:05}"}]
    started = {"start": "2026-03-01T10:00:00+01:00"}
    yield a_patient(patient, identifier=[{"system": "urn:oid:1.2.3", "value": f"MRN-{number}"}])
    yield a_subject(patient, study, identifier=own, period=started)
    yield a_consent(patient, study)


def results(number, patient, place, at):
    """Return the resources of one laboratory message; the same ones for the same numbers."""
    draw = random.Random(f"{number}/{place}")
    subject = {"reference": f"Patient/{patient}"}
    specimen = {"reference": f"Specimen/{_id(draw)}"}
    report = f"DiagnosticReport/{_id(draw)}"
    observations = [
        _observation(draw, _code(number, place, line), subject, specimen, at + timedelta(minutes=line))
        for line in range(EACH)
    ]
    yield {
        "resourceType": "Specimen",
        "id": _own(specimen["reference"]),
        "type": {"coding": [{"system": "http://snomed.info/sct", "code": "119297000"}], "text": "Whole blood"},
        "subject": subject,
        "collection": {"collectedDateTime": at.isoformat()},
    }
    yield from observations
    yield {
        "resourceType": "DiagnosticReport",
        "id": _own(report),
        "status": "final",
        "category": [{"coding": [{"system": f"{_ACT}/v2-0074", "code": "LAB"}]}],
        "code": {"coding": [{"system": LOINC, "code": "58410-2"}]},
        "subject": subject,
        "effectiveDateTime": at.isoformat(),
        "specimen": [specimen],
        "result": [{"reference": f"Observation/{one['id']}"} for one in observations],
    }
    yield {
        "resourceType": "Provenance",
        "id": _id(draw),
        "target": [{"reference": report}, *({"reference": f"Observation/{one['id']}"} for one in observations)],
        "recorded": (at + timedelta(hours=2)).isoformat(),
        "agent": [{"who": {"reference": f"Organization/{LABORATORY}"}}],
    }


def _observation(draw, code, subject, specimen, at):
    unit = dict(CODES).get(code, "ng/L")

    def quantity(value):
        return {"value": value, "unit": unit, "system": UCUM, "code": unit}

    return {
        "resourceType": "Observation",
        "id": _id(draw),
        "identifier": [{"system": "https://lab.example/order", "value": str(draw.getrandbits(40))}],
        "status": "final",
        "category": [{"coding": [{"system": f"{_ACT}/observation-category", "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}], "text": "as the laboratory calls it"},
        "subject": subject,
        "effectiveDateTime": at.isoformat(),
        "issued": (at + timedelta(hours=1)).isoformat(),
        "performer": [{"reference": f"Organization/{LABORATORY}"}],
        "valueQuantity": quantity(draw.randrange(10, 1000)),
        "specimen": specimen,
        "referenceRange": [{"low": quantity(10), "high": quantity(900)}],
    }


def _code(number, place, line):
    if number % 200 == 7 and (place, line) == (11, 3):
        return RARE
    return CODES[(place * EACH + line) % len(CODES)][0]


def _laboratory():
    return {"resourceType": "Organization", "id": LABORATORY, "name": "San Celso laboratory"}


def _id(draw):
    return str(UUID(int=draw.getrandbits(128), version=4))


def _own(reference):
    return reference.partition("/")[2]


def _version(body, patient, message, at):
    moment = (
        body.get("effectiveDateTime") or body.get("dateTime") or body.get("collection", {}).get("collectedDateTime")
    )
    return ResourceVersion(
        type=body["resourceType"],
        id=body["id"],
        version=1,
        body=codec.encode(body),
        message=message,
        stored_at=at + timedelta(hours=3),
        patient=patient,
        date=datetime.fromisoformat(moment).astimezone(UTC) if moment else None,
        status=body.get("status", ""),
    )


def _written(store, batch):
    with store.begin() as tx:
        tx.resources.append(batch)
    return []
