"""A trial office that writes into a small world, and what its requests look like."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from gateway.api.fhir.exchange import Asked, Told
from gateway.api.fhir.validating import validating_rules
from gateway.api.fhir.writing import writing_rules
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from gateway.model.names import SUBJECT_NUMBER
from gateway.model.recipient import ReleaseRule
from gateway.model.study import ON_STUDY
from gateway.services.commit import Office
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.pull import Pull, Sight
from tests.releasing import (
    EVERYTHING,
    KEYS,
    MLD,
    World,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    recipient,
    uid,
)

BASE = "http://gateway.test/fhir/r4"
STATUSES = (*ON_STUDY, "candidate", "eligible", "screening", "off-study", "withdrawn")
FILE = EVERYTHING | {
    "Patient": ReleaseRule(("identifier", "gender", "birthDate", "active", "name")),
    "ResearchSubject": ReleaseRule(("identifier", "status", "period", "study", "individual", "consent", "assignedArm")),
    "ResearchStudy": ReleaseRule(
        ("status", "title", "identifier", "protocol", "partOf", "enrollment", "sponsor", "arm", "phase")
    ),
    "PlanDefinition": ReleaseRule(("status", "title", "action", "name", "url", "version", "identifier")),
    "Group": ReleaseRule(("identifier", "type", "actual", "name", "member", "quantity")),
    "Organization": ReleaseRule(("identifier", "name", "active", "alias", "telecom")),
}
"""What the file of a trial office lets out."""


def office_file(id="office", **changes):
    """The recipient's file of a trial office: it pulls, and knows patients by their identifiers."""
    return recipient(
        id, **({"kind": "pull", "identity": "identified", "release": FILE, "statuses": STATUSES} | changes)
    )


class Desk:
    """A client with a token for the API of a world: ``send`` is a request that never fails otherwise than refused."""

    def __init__(self, world: World, *views: View, **flags: Any) -> None:
        self.world = world
        scopes = flags.pop("scopes", (Scope("*", "cruds"),))
        self.caller = Caller("ctms", views or (View("office", "mld"),), scopes, **({"writes": True} | flags))
        self.sight = Sight(world.policy, Enrolments(world.policy), Concerns())
        self.office = Office(world.store, self.sight, world.planner, KEYS.identity, lambda: world.now)
        self.rules = [*writing_rules(self.office, self._read), *validating_rules(self.office)]
        self.release = "R4"

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        """Make a request. ``body``: JSON values, or the bytes themselves."""
        path, _, query = path.partition("?")
        segments = tuple(path.split("/")) if path else ()
        rule, names = self._rule(method, segments)
        raw = body if isinstance(body, bytes) else b"" if body is None else codec.encode(body)
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        base = BASE if self.release == "R4" else BASE.replace("r4", "r5")
        return rule.handler(
            Asked(method, base, self.release, path, names, pairs, given, raw, self.caller, self.world.now)
        )

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> RequestRefused:
        """Make a request that is refused; return why."""
        try:
            told = self.send(method, path, body, **headers)
        except RequestRefused as error:
            return error
        raise AssertionError(f"answered {told.status}")

    def _rule(self, method, segments):
        for rule in self.rules:
            pattern = tuple(rule.path.split("/")) if rule.path else ()
            if rule.method != method or len(pattern) != len(segments):
                continue
            pairs = list(zip(pattern, segments, strict=True))
            if all(a == b or (a.startswith("{") and not b.startswith("$")) for a, b in pairs):
                return rule, {a[1:-1]: b for a, b in pairs if a.startswith("{")}
        raise AssertionError("no such route")

    def _read(self, asked: Asked) -> Told:
        type, _, id = asked.path.partition("/")
        found = self.seen(type, id)
        if found is None:
            raise RequestRefused(404, "not-found", "there is none")
        return Told(200, codec.encode(found))

    def seen(self, type: str, id: str) -> dict[str, Any] | None:
        """Return a resource as the client sees it now."""
        with self.world.store.begin(write=False) as tx:
            found = self.pull(tx).read(type, id)
        return None if found is None else found[1].body

    def pull(self, tx):
        return Pull(tx, self.sight, self.caller, self.world.now, self.release)

    def public(self, internal: str, view: int = 0) -> str:
        return self.world.policy.rights(self.caller.views[view]).public_id(internal)

    def versions(self, id: str):
        with self.world.store.begin(write=False) as tx:
            return tx.resources.versions(id)


def body_of(told: Told) -> dict[str, Any]:
    """Return the resource of an answer."""
    return json.loads(told.body)


def enrolled(world: World, patient: str = uid("patient"), **changes: Any) -> dict[str, Any]:
    """Store a patient on study under consent, the study and a result, as feeds do; return the ResearchSubject."""
    subject = a_subject(patient, **changes)
    clocks = {"": (2, "2026-03-10T00:00:00+00:00", 1)}
    world.write(a_study(), patient="", clocks=clocks, message=0)
    bodies = (a_patient(patient), a_consent(patient), subject, an_observation(patient=patient))
    world.write(*bodies, patient=patient, clocks=clocks, message=99)
    return subject


def a_new_subject(patient: str, study: str = MLD.resource, **changes: Any) -> dict[str, Any]:
    """A ResearchSubject as a client writes it, ids the view's."""
    return {
        "resourceType": "ResearchSubject",
        "status": "candidate",
        "identifier": [{"system": f"{SUBJECT_NUMBER}/mld", "value": "MLD-100"}],
        "study": {"reference": f"ResearchStudy/{study}"},
        "individual": {"reference": f"Patient/{patient}"},
    } | changes


def a_new_consent(patient: str, **changes: Any) -> dict[str, Any]:
    """A Consent as a client writes it."""
    stored = a_consent(uid("patient"))
    kept = {name: value for name, value in stored.items() if name not in ("id", "extension")}
    return kept | {"patient": {"reference": f"Patient/{patient}"}} | changes


def pseudonymous(**changes: Any) -> Any:
    """The file of an office that knows its patients by pseudonyms alone."""
    listed = FILE | {"Patient": ReleaseRule(("identifier", "gender", "birthDate", "active"))}
    return replace(office_file(), identity="pseudonymous", release=listed, **changes)
