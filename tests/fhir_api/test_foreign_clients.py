"""Clients that we did not write work against the API as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRServer
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome

from gateway.model.access import Scope
from gateway.model.client import Client, Credential
from tests.contracts.waiting import PATIENCE, wait_for
from tests.smart import assertion, key_set, token_request

NODE = Path(__file__).parent / "node"


@pytest.fixture
def asking(unit):
    """Base URL and token of a client of the data capture system's, and what it sees."""
    with unit.client("edc") as client:
        token = client.headers["Authorization"].removeprefix("Bearer ")
        base = str(client.base_url).rstrip("/")
        total = client.get("Observation", params={"_count": 0}).json()["total"]
        yield base, token, total


def test_fhirpy(asking):
    base, token, total = asking
    client = SyncFHIRClient(base, authorization=f"Bearer {token}")

    observations = client.resources("Observation").limit(20).fetch_all()
    assert len(observations) == total
    assert client.resources("Observation").count() == total
    subject = client.resources("ResearchSubject").search(status="on-study").first()
    assert subject.individual.to_resource()["resourceType"] == "Patient"
    with_study = client.resources("ResearchSubject").include("ResearchSubject", "study").fetch_raw()
    assert {entry.resource.resourceType for entry in with_study.entry} == {"ResearchSubject", "ResearchStudy"}
    with pytest.raises(OperationOutcome):
        client.resources("Patient").search(fish="1").fetch()


def test_fhirclient(asking):
    base, token, total = asking
    server = FHIRServer(None, base)
    server.session.headers["Authorization"] = f"Bearer {token}"

    assert server.capabilityStatement.fhirVersion == "4.0.1"
    found = list(Observation.where({"_count": "20"}).perform_resources_iter(server))
    assert len(found) == total
    patient = found[0].subject.reference.rpartition("/")[2]
    assert Patient.read(patient, server).id == patient
    server.session.close()


def test_fhir_kit_client(node, asking):
    base, token, total = asking
    told = said(node, "fhir-kit.mjs", base, token)

    assert told["fhirVersion"] == "4.0.1"
    assert (told["observations"], told["patient"], told["refused"]) == (total, "Patient", 404)
    assert told["versions"] >= 1


def test_medplums_client(node, asking):
    base, token, total = asking
    told = said(node, "medplum.mjs", base, token)

    assert (told["observations"], told["patient"], told["newest"]) == (total, "Patient", "Observation")
    assert told["refused"] == "not-found"


@pytest.fixture(scope="module")
def node():
    """Install the Node clients as locked; Node itself is a tool of the machine."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if not program or not npm:
        pytest.fail("node and npm are needed (make services)")
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return program


def said(node, script, *words):
    return json.loads(run(node, script, *words).splitlines()[-1])


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=NODE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_flow_of_smarts_bulk_data_client(unit):
    """What SMART's client does, step by step: a signed assertion, an export of a study's Group, its files."""
    now = datetime.now(UTC)
    views = tuple(view for view in unit.policy.views if view.recipient == "analysts")
    with unit.store.begin() as tx:
        keys = Credential(jwks=key_set(("ES384", "bulk")))
        tx.clients.add(Client("bulk-client", views, (Scope("*", "rs"),), keys, now))
    with httpx.Client(
        base_url=f"{unit.address}/fhir/r4/", headers={"Accept": "application/json"}, timeout=PATIENCE
    ) as http:
        endpoint = http.get(".well-known/smart-configuration").json()["token_endpoint"]
        token = http.post(endpoint, data=token_request(assertion("bulk-client", endpoint, kid="bulk"))).json()
        http.headers["Authorization"] = f"{token['token_type']} {token['access_token']}"

        begun = http.get("Patient/$export", headers={"Prefer": "respond-async, handling=lenient"})
        assert begun.status_code == 202
        wait_for(lambda: http.get(begun.headers["Content-Location"]).status_code == 200, what="the export")
        manifest = http.get(begun.headers["Content-Location"]).json()
        assert manifest["requiresAccessToken"] is True
        lines = [
            json.loads(line) for file in manifest["output"] for line in http.get(file["url"]).text.splitlines() if line
        ]
        assert len(lines) == sum(file["count"] for file in manifest["output"])
        assert {line["resourceType"] for line in lines} >= {"Patient", "Observation", "ResearchSubject"}
        assert http.delete(begun.headers["Content-Location"]).status_code == 202
        assert http.get(begun.headers["Content-Location"]).status_code == 404
