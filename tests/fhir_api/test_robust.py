"""Whatever is asked is answered in words of FHIR, and never by a fault of the gateway: ten thousand spoilt requests."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest

from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.model.access import Caller, Scope
from gateway.release.policy import REQUIRED
from tests.asking import Api
from tests.releasing import a_consent, a_patient, a_study, a_subject, an_observation, an_organization, uid
from tests.releasing import world as a_world
from tests.writing import FILE, office_file

ROUNDS, REQUESTS = 10, 1000
CODES = frozenset(
    [
        "invalid",
        "structure",
        "required",
        "value",
        "invariant",
        "security",
        "login",
        "unknown",
        "expired",
        "forbidden",
        "suppressed",
        "processing",
        "not-supported",
        "duplicate",
        "multiple-matches",
        "not-found",
        "deleted",
        "too-long",
        "code-invalid",
        "extension",
        "too-costly",
        "business-rule",
        "conflict",
        "transient",
        "lock-error",
        "no-store",
        "exception",
        "timeout",
        "incomplete",
        "throttled",
        "informational",
    ]
)
"""http://hl7.org/fhir/ValueSet/issue-type of R4; R5 has all of them."""

FITTING = {
    400: {"invalid", "structure", "required", "value", "not-supported", "too-costly", "code-invalid", "invariant",
          "multiple-matches", "processing", "business-rule", "extension", "not-found"},
    401: {"login", "expired", "security", "unknown"}, 403: {"forbidden", "security", "suppressed"},
    404: {"not-found", "not-supported"}, 405: {"not-supported"}, 406: {"not-supported"}, 408: {"timeout"},
    409: {"conflict", "duplicate", "business-rule"}, 410: {"deleted", "expired", "not-found"},
    412: {"multiple-matches", "conflict", "duplicate", "required", "invalid", "business-rule"}, 413: {"too-long",
    "too-costly"},
    415: {"not-supported"}, 422: None, 428: None, 429: {"throttled", "too-costly"}, 503: {"transient"},
}  # fmt: skip
"""Issue codes that go with a status; None: any."""

TYPES = [
    *REQUIRED,
    *REQUIRED,
    *REQUIRED,
    "AuditEvent",
    "Fish",
    "Subscription",
    "CodeSystem",
    "",
    "patient",
    "$x",
    "_history",
    "metadata",
    "Binary",
]
WORDS = [
    "", " ", "a", "1", "-1", "0", "true", "false", "null", "é", "\x00", "\n", "\udcff", "%", "%00", "%ff", "\U0001f9ec",
    "9" * 30, "9" * 5000, "a" * 3000, "|", "||", "|||", "$", "$$", ",", ",,", "\\", "\\,", "a|b|c|d", "ge", "ap",
    "ne1e400", "1e400",
    "-1e-400", "NaN", "Infinity", "0x1", "1.2.3", "5.4|http://unitsofmeasure.org|g/L",
    "5|http://unitsofmeasure.org|" + "(" * 500,
    "5|http://unitsofmeasure.org|m" + "9" * 400, "2026", "2026-02-30", "0000", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "2026-03-01T00:00:00Z", "2026-03-01T24:00:00Z", "lt0001", "gt9999", "ap9999-12-31",
    "2026-03-01T00:00:60Z", "Patient/1", "Patient/", "/", "//", "..", "../..", "http://a", "http://[", "urn:uuid:x",
    "urn:oid:1.2",
    uid("patient"), f"Patient/{uid('patient')}", f"http://gateway.test/fhir/r4/Patient/{uid('patient')}", "*",
    "Observation:subject",
    "Observation:subject:Patient", "Patient:fish", "*:*", "::", "_id", "-_lastUpdated", "-", "--date", "count",
    "data", "text",
    "final", "http://loinc.org|718-7", "AAAA", "A" * 4000, "'; DROP TABLE pages; --", "<script>", "{}", "[]",
    "\u202e", "٣", "²",
]  # fmt: skip
NAMES = [
    "_id", "_lastUpdated", "_tag", "_security", "_profile", "_sort", "_count", "_total", "_summary", "_elements",
    "_include",
    "_revinclude", "_include:iterate", "_revinclude:iterate", "_page", "_has:Observation:patient:code",
    "_has:Observation",
    "_has:::", "_has:Fish:x:y", "_has:Provenance:target:_has:A:b:c", "_format", "_pretty", "fhirVersion", "_since",
    "_at", "_type",
    "_typeFilter", "_outputFormat", "code", "date", "status", "subject", "patient", "subject.name",
    "subject:Patient.name",
    "patient.organization.name", "code:not", "code:text", "code:in", "code:of-type", "code:missing", "name:exact",
    "name:contains",
    "identifier:of-type", "subject:identifier", "value-quantity", "code-value-quantity",
    "component-code-value-quantity", "combo-code",
    "birthdate", "name", "gender", "start", "end", "mode", "profile", "url", "fish", "", ":", ".", "a.b.c", "_text",
    "_content",
    "_filter", "_query", "_list", "_contained", "value-string", "value-date", "individual", "study", "\x00", "é" * 50,
    "a" * 3000,
]  # fmt: skip
HEADERS = ["Accept", "Content-Type", "Prefer", "If-None-Match", "If-Match", "If-None-Exist", "If-Modified-Since",
"Accept-Encoding",
           "Authorization", "X-Forwarded-For", "Range", "X-Provenance", "Host"]  # fmt: skip
SAID = [
    "application/fhir+json", "application/json", "*/*", "text/html", "application/fhir+xml",
    "application/fhir+json; fhirVersion=4.0",
    "application/fhir+json; fhirVersion=9", "application/fhir+ndjson", "application/json-patch+json",
    "application/x-www-form-urlencoded",
    "application/fhir+json; charset=utf-16", "respond-async", "return=minimal", "return=OperationOutcome",
    "handling=lenient", "handling=strict",
    "return=representation, handling=lenient", 'W/"1"', '"1"', "*", 'W/"', "identifier=a|b", "name=x&_count=1",
    "gzip", "gzip;q=0",
    "Bearer", "Bearer x", "Basic YTpi", "", ";;;=,=", "a" * 3000, "bytes=0-1", "Sun, 06 Nov 1994 08:49:37 GMT",
    "\xff", "é",
]  # fmt: skip


SOUND = [
    ("_count", "2"), ("_count", "0"), ("_sort", "-_lastUpdated"), ("_lastUpdated", "ge2026-01-01"), ("_elements",
    "status"),
    ("_summary", "true"), ("_summary", "count"), ("_total", "accurate"), ("_id", uid("patient")), ("_id:missing",
    "true"),
    ("_has:Provenance:target:_id", "x"), ("_revinclude", "Provenance:target"), ("_include", "*"), ("_tag", "a|b"),
    ("_profile", "urn:x"),
    ("_format", "json"), ("_pretty", "true"),
]  # fmt: skip


class Spoiling(Random):
    """A source of requests: sound ones with something in them spoilt."""

    def path(self) -> str:
        type = self.choice(TYPES)
        id = self.choice([uid("patient"), uid("study mld"), uid("none"), self.choice(WORDS), "1"])
        version = self.choice(["1", "2", "0", self.choice(WORDS)])
        shape = self.choice(
            ["{0}", "{0}", "{0}", "{0}", "{0}/{1}", "{0}/{1}", "{0}/{1}/_history", "{0}/{1}/_history/{2}",
            "{0}/_history", "{0}/_search",
             "{0}/{1}/$everything", "{0}/{1}/$enrollment-summary", "{0}/$export", "$export", "{0}/{1}/$export",
             "$export-status/{1}",
             "$export-file/{1}/{2}", "{0}/$validate", "$validate", "{0}/{1}/$validate", "", "metadata", "_history",
             "_search",
             "ConceptMap/$translate", "CodeSystem/$lookup", "ValueSet/$expand", "Subscription/{1}/$status",
             "Subscription/{1}/$events",
             "{0}/{1}/{2}/{0}", "{0}/{1}/_history/{2}/{0}", ".well-known/smart-configuration", "{1}", "{0}//{1}",
             "/{0}"]
        )  # fmt: skip
        return "/".join(
            quote(part, safe="$", errors="surrogateescape") for part in shape.format(type, id, version).split("/")
        )

    def pairs(self) -> str:
        pairs = [(self.choice(NAMES), self.choice(WORDS)) for _ in range(self.choice([0, 0, 1, 1, 1, 2]))]
        pairs += self.sample(SOUND, self.choice([0, 0, 1, 2]))
        if self.random() < 0.02:
            pairs *= 300
        joined = "&".join(
            f"{quote(name, errors='surrogateescape')}={quote(value, errors='surrogateescape')}" for name, value in pairs
        )
        return joined if self.random() < 0.95 else joined.replace("=", "", 1) + "&=&&%&%zz=%f"

    def headers(self) -> list[tuple[bytes, bytes]]:
        found = [(self.choice(HEADERS), self.choice(SAID)) for _ in range(self.choice([0, 0, 0, 1, 1, 2]))]
        found = [one for one in found if one[0] not in ("Authorization", "Host") or self.random() < 0.2]
        return [(name.lower().encode(), text.encode("utf-8", "surrogateescape")) for name, text in found]

    def body(self) -> bytes:
        sound = self.choice(BODIES)
        changed = self.spoilt(json.loads(sound)) if self.random() < 0.7 else None
        text = sound if changed is None else json.dumps(changed).encode()
        for _ in range(self.choice([0, 0, 1, 2])):
            place = self.randrange(len(text) + 1)
            cut = self.choice([0, 0, 1, 5, 200])
            text = text[:place] + self.choice(BITS) + text[place + cut :]
        return text

    def spoilt(self, value):
        """Return a JSON value with a member or two of it changed, left out or doubled."""
        if isinstance(value, dict) and value and self.random() < 0.9:
            name = self.choice(list(value))
            changed = dict(value)
            match self.randrange(5):
                case 0:
                    del changed[name]
                case 1:
                    changed[name] = self.choice(VALUES)
                case 2:
                    changed[self.choice(["_" + name, "extension", "contained", "resourceType", "id", "é", ""])] = (
                        self.choice(VALUES)
                    )
                case _:
                    changed[name] = self.spoilt(value[name])
            return changed
        if isinstance(value, list) and value and self.random() < 0.8:
            place = self.randrange(len(value))
            return [
                *value[:place],
                self.spoilt(value[place]),
                *value[place : place + self.randrange(2)],
                *value[place + 1 :],
            ]
        return self.choice(VALUES)


def nested(open: bytes, close: bytes, deep: int) -> bytes:
    return open * deep + close * deep


BITS = [b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b"\\u0000", b"\\ud800", b"1e999", b"-",
b"null", b"\xef\xbb\xbf",
        nested(b"[", b"]", 5000), b'{"a":' * 3000]  # fmt: skip
VALUES = [None, True, False, 0, -1, 1.5, 10**40, "", " ", "a", "\x00", "9" * 5000, [], {}, [[]], [{}], [None],
{"a": None}, "2026-13-45",
          "Patient/1", {"reference": 7}, {"reference": "#x"}, {"coding": "x"}, [1, "a", {}], "urn:uuid:x",
          {"resourceType": "Patient"},
          [{"url": "x"}], {"value": "1e400"}, "GET", "DELETE", "Patient?name=x", [{"resource": {}}],
          "\ud800".encode("utf-16", "surrogatepass").hex()]  # fmt: skip


def _bodies() -> list[bytes]:
    entries = [
        {"fullUrl": "urn:uuid:6f1c2f0e-8a58-4d1c-9a53-0b6f6a0c1d2e", "resource": an_organization(id="x"),
         "request": {"method": "POST", "url": "Organization", "ifNoneExist": "name=x"}},
        {"resource": a_study(), "request": {"method": "PUT", "url": f"ResearchStudy/{uid('study mld')}",
        "ifMatch": 'W/"1"'}},
        {"request": {"method": "GET", "url": "Patient?_count=1"}},
        {"request": {"method": "DELETE", "url": f"Organization/{uid('laboratory')}"}},
    ]  # fmt: skip
    sound = [
        a_study(), a_patient(), a_subject(), a_consent(), an_observation(), an_organization(),
        {"resourceType": "Bundle", "type": "transaction", "entry": entries[:2]},
        {"resourceType": "Bundle", "type": "batch", "entry": entries},
        {"resourceType": "Group", "type": "person", "actual": True, "member": [{"entity": {"reference": "Patient/1"}}]},
        {"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "create"}, {"name": "resource",
        "resource": a_study()}]},
        {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Patient"}, {"name": "_since",
        "valueInstant": "2026-01-01T00:00:00Z"}]},
        {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "ResearchStudy.title"},
            {"name": "value", "valueString": "x"}]}]},
        [{"op": "replace", "path": "/title", "value": "x"}, {"op": "test", "path": "/status", "value": "active"}],
        {"resourceType": "Subscription", "status": "requested", "criteria": "x", "reason": "r",
        "channel": {"type": "rest-hook", "endpoint": "https://a.example"}},
        {"resourceType": "Parameters", "parameter": [{"name": "code", "valueCode": "x"}, {"name": "url",
        "valueUri": "http://x"}]},
    ]  # fmt: skip
    return [codec.encode(one) for one in sound]


BODIES = _bodies()


@contextmanager
def opened():
    """The API over a small world."""
    file = office_file(release=FILE)
    with tempfile.TemporaryDirectory() as folder, a_world(Path(folder), file) as made:
        stored = (a_study(), a_patient(), a_subject(), a_consent(), an_observation(), an_organization())
        made.write(*stored, clocks={"": (1, "2026-03-01T09:00:00", 1)})
        caller = Caller("client", made.policy.views, (Scope("*", "cruds"),), writes=True, audits=True)
        api = Api(made.store, made.policy, caller)
        try:
            yield api
        finally:
            api.close()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_spoilt_request_finds_a_fault(seed):
    random = Spoiling(seed)
    refused = answered = 0
    with opened() as api:
        for _ in range(REQUESTS):
            method = random.choice(["GET"] * 5 + ["POST"] * 4 + ["PUT"] * 2 + ["PATCH"] * 2 + ["DELETE", "HEAD"])
            release, path, query = random.choice(["r4", "r4", "r5"]), random.path(), random.pairs()
            body = random.body() if method in ("POST", "PUT", "PATCH") else b""
            headers = random.headers()
            if path.endswith("_search") and random.random() < 0.8:
                headers.append((b"content-type", b"application/x-www-form-urlencoded"))
                body = random.choice([query.encode(), random.pairs().encode(), body])
            elif path.startswith("ResearchStudy") and method == "PATCH" and random.random() < 0.5:
                headers.append((b"content-type", b"application/json-patch+json"))
            asked = f"{method} {release}/{path}?{query[:300]} {headers} {body[:300]!r}"
            heard = api.ask("client", method, f"{release}/{path}?{query}", raw=headers, body=body)
            assert heard.status < 500, (asked, heard.content)
            if heard.status >= 400:
                refused += 1
                is_told_in_words(heard, method, asked)
            else:
                answered += 1
    assert refused > REQUESTS / 3
    assert answered > REQUESTS / 50


def is_told_in_words(heard, method, asked):
    """Whether a refusal is an OperationOutcome whose issue code is one of FHIR and fits the status."""
    assert heard.headers["content-type"].startswith("application/fhir+json"), asked
    outcome = heard.body
    check(outcome)
    assert outcome["resourceType"] == "OperationOutcome", asked
    for issue in outcome["issue"]:
        assert issue["code"] in CODES, asked
        fitting = FITTING[heard.status]
        assert fitting is None or issue["code"] in fitting, (asked, heard.status, issue)
