"""The fictional unit after its year, with its FHIR API on a real socket, and clients that may ask it."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx

from fixtures.standins.serving import capture
from gateway.cli.demo import Demo
from gateway.model.access import Scope
from gateway.model.client import AccessToken, Client, Credential
from gateway.model.delivery import View
from gateway.services.authorize import token_hash
from gateway.settings import load
from tests.configuration import ROOT, write_keys
from tests.contracts.waiting import PATIENCE

RECIPIENTS = {
    "monitor": """
id = "monitor"
kind = "pull"
studies = ["mld", "was", "bthal"]
identity = "identified"
[release.ResearchStudy]
elements = ["identifier", "title", "status", "phase", "condition", "sponsor", "site", "principalInvestigator"]
[release.Group]
elements = ["identifier", "type", "actual", "name", "member"]
[release.Organization]
elements = ["name", "identifier"]
[release.Practitioner]
elements = ["name", "identifier"]
[release.Patient]
elements = ["identifier", "name", "gender", "birthDate", "address", "managingOrganization"]
[release.ResearchSubject]
elements = ["identifier", "status", "period", "study", "individual", "consent", "assignedArm"]
[release.Consent]
elements = ["status", "scope", "category", "patient", "dateTime", "policyRule", "provision"]
[release.Encounter]
elements = ["status", "class", "subject", "period", "serviceProvider"]
[release.Specimen]
elements = ["type", "subject", "collection"]
[release.Observation]
elements = ["identifier", "status", "category", "code", "subject", "encounter", "effectiveDateTime",
    "valueQuantity", "valueCodeableConcept", "valueString", "valueRange", "valueRatio", "dataAbsentReason",
    "interpretation", "performer", "referenceRange", "method", "specimen"]
[release.DiagnosticReport]
elements = ["status", "category", "code", "subject", "effectiveDateTime", "result", "specimen"]
[release.Provenance]
elements = ["target", "recorded", "activity", "agent", "entity"]
""",
    "office": """
id = "office"
kind = "pull"
studies = ["mld", "was", "bthal"]
identity = "identified"
statuses = ["candidate", "eligible", "follow-up", "off-study", "on-study", "on-study-intervention",
    "on-study-observation", "screening", "withdrawn"]
[release.ResearchStudy]
elements = ["identifier", "title", "status", "phase", "condition", "protocol", "partOf", "enrollment", "sponsor"]
[release.PlanDefinition]
elements = ["identifier", "title", "status", "type", "action"]
[release.Group]
elements = ["identifier", "type", "actual", "name", "member"]
[release.Organization]
elements = ["name", "identifier"]
[release.Patient]
elements = ["identifier", "name", "gender", "birthDate"]
[release.ResearchSubject]
elements = ["identifier", "status", "period", "study", "individual", "consent", "assignedArm"]
[release.Consent]
elements = ["status", "scope", "category", "patient", "dateTime", "policyRule", "provision"]
""",
}
"""Further recipients of the tests, by id: their files."""

EVERYTHING = (Scope("*", "cruds"),)
TOKEN_SECONDS = 290


class Unit:
    """A gateway that has lived through the year. ``keys``, ``policy`` and ``store`` are those of the gateway itself."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.keys, self.policy, self.store = gateway.keys, gateway.policy, gateway.store
        self.address = gateway.addresses["http"]

    def client(self, recipient, *, studies=None, scopes=EVERYTHING, release="r4", **flags):
        """Return an HTTP client with a fresh token: of a client of these views alone."""
        views = tuple(
            view for view in self.policy.views if view.recipient == recipient and (not studies or view.study in studies)
        )
        return self.client_of(views, scopes=scopes, release=release, **flags)

    def client_of(self, views: tuple[View, ...], *, scopes=EVERYTHING, release="r4", **flags):
        """Return an HTTP client of a client of these views; it has another token before the last one ends."""
        name, ends = f"client-{uuid4()}", 0.0
        with self.store.begin() as tx:
            now = datetime.now(UTC)
            tx.clients.add(Client(name, views, scopes, Credential(), now, per_minute=1_000_000, **flags))

        def renew():
            nonlocal ends
            ends = time.monotonic() + TOKEN_SECONDS / 2
            made.headers["Authorization"] = f"Bearer {self._token(name, scopes)}"

        def show(request):
            if time.monotonic() > ends:
                renew()
            request.headers["Authorization"] = made.headers["Authorization"]

        hooks = {"request": [show], "response": [keep]}
        made = httpx.Client(base_url=f"{self.address}/fhir/{release}/", event_hooks=hooks, timeout=PATIENCE)
        renew()
        return made

    def _token(self, client, scopes):
        token, now = secrets.token_urlsafe(32), datetime.now(UTC)
        with self.store.begin() as tx:
            ends = now + timedelta(seconds=TOKEN_SECONDS)
            tx.clients.issue(AccessToken(token_hash(self.keys.index, token), client, scopes, ends))
        return token


def keep(response):
    """Write what is received into the folder that the validator looks at, and what is R5 nowhere."""
    response.read()
    if "/fhir/r4" in str(response.url) and "fhir+json" in response.headers.get("Content-Type", ""):
        capture(response.content)


@contextmanager
def lived(folder, database_url=""):
    """A gateway in this process that has lived through the year; embedded where no database is named."""
    config = folder / "config"
    shutil.copytree(ROOT / "fixtures" / "config", config, ignore=shutil.ignore_patterns("data"))
    for id, text in RECIPIENTS.items():
        (config / "recipients" / f"{id}.toml").write_text(text)
    environment = {"GATEWAY_DATA": str(folder / "data"), "GATEWAY_KEY_FILE": str(write_keys(folder / "keys.json"))}
    if database_url:
        environment["GATEWAY_DATABASE_URL"] = database_url
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("GATEWAY_")}
    os.environ.update(environment)
    with Demo(load(config, environment)) as demo:
        for name in environment:  # it has read them; tests beside it have an environment of their own
            del os.environ[name]
        os.environ.update(before)
        demo.play()
        yield Unit(demo.gateway)
