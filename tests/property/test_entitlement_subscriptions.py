"""What subscriptions tell of random worlds that change: what the client sees at that moment, and no other event counts.

What is an event is worked out from the oracle (``tests.entitled``) and from the bodies that the client reads.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.fhir import codec
from gateway.fhir.search.query import parse
from gateway.model.access import Caller
from gateway.model.client import Client, Credential
from gateway.model.delivery import Unknown, View
from gateway.model.resource import ResourceVersion
from gateway.services.limits import NOWHERE
from gateway.services.topics import OBSERVATION, SUBJECT_STATUS
from tests.asking import BASE, Heard
from tests.entitled import Oracle
from tests.records import CONSENTS, STATUSES
from tests.releasing import an_observation, uid, version
from tests.routes import Request
from tests.seeing import EVERYTHING, Scene, scene
from tests.subscribing import events, kind, r4, r5

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=10, phases=[Phase.generate])
FILTERS = {
    "Observation": ["", "status=final", "code=http://loinc.org|718-7"],
    "ResearchSubject": ["", "status=on-study,follow-up"],
}
Event = tuple[View, str, int]


class Listening:
    """A subscription of the client's to a topic, and the events that there should be."""

    def __init__(self, made: Scene, release: str) -> None:
        self.made, self.release = made, release
        self.topic = made.random.choice([OBSERVATION, OBSERVATION, SUBJECT_STATUS])
        self.type = self.topic.types[0]
        self.query = made.random.choice(FILTERS[self.type])
        self.content = made.random.choice(["empty", "id-only", "full-resource"])
        self.happened: list[Event] = []
        with made.api.store.begin() as tx:
            tx.clients.add(Client("wide", made.views, EVERYTHING, Credential(jwks="{}"), made.api.now))
        for number, view in enumerate(made.views):
            made.api.callers.known[f"one{number}"] = Caller(f"one{number}", (view,), EVERYTHING)
        heard = made.api.ask("wide", "POST", f"{release}/Subscription", body=codec.encode(self.written()))
        assert heard.status == 201, heard.content
        self.id = heard.body["id"]
        made.own |= {self.id}
        (handshake,) = self.tell()
        assert (kind(handshake), events(handshake)) == ("handshake", [])

    def written(self) -> dict[str, Any]:
        if self.release == "r4":
            criteria = [f"{self.type}?{self.query}"] if self.query else []
            return r4(self.topic, content=self.content, criteria=criteria)
        name, _, value = self.query.partition("=")
        filters = [{"resourceType": self.type, "filterParameter": name, "value": value}] if self.query else []
        return r5(self.topic, content=self.content, filters=filters)

    # --- telling ------------------------------------------------------------------------------------------------------

    def tell(self) -> list[dict[str, Any]]:
        """Attend to what is due; look through what was sent."""
        api, before = self.made.api, len(self.made.api.endpoint.told)
        while (claimed := api.notify.claim()) is not None:
            api.notify.attend(claimed)
        sent = api.endpoint.told[before:]
        for one in sent:
            status = codec.decode(one.body)["entry"][0]
            self.made.own |= {status["fullUrl"][-36:]}
            self.made.heard(Heard(200, {"content-type": "application/json"}, one.body), self.id)
        return [codec.decode(one.body) for one in sent]

    # --- what should be told ------------------------------------------------------------------------------------------

    def change(self, versions: list[ResourceVersion]) -> None:
        """Store versions; note what is an event because of them, seen as it is then."""
        before = self.made.oracles
        written = self.made.write(versions)
        for number, view in enumerate(self.made.views):
            found = {
                one.id: one.version for one in written if one.type == self.type and self._happens(number, view, one)
            }
            for patient in {one.patient for one in written if self.topic is SUBJECT_STATUS}:
                place = self.made.oracles[view].entitled(patient)
                head = self.made.heads.get(place)
                if head and not before[view].entitled(patient) and self._happens(number, view, head, entitled=True):
                    found[head.id] = head.version
            self.happened += [(view, id, version) for id, version in found.items()]

    def _happens(self, number: int, view: View, version: ResourceVersion, *, entitled: bool = False) -> bool:
        oracle = self.made.oracles[view]
        if version.id not in oracle.seen or not _shows(oracle, version.id, version.version):
            return False
        after = self.body(number, view, version.id, version.version)
        query = parse_qsl(self.query)
        if not parse("R4", self.type, query, base=f"{BASE}/r4").matches(after, NOWHERE):
            return False
        earlier = [one for one in oracle.versions(version.id) if one.version == version.version - 1]
        if entitled or not earlier:
            return True
        was = self.body(number, view, version.id, version.version - 1)
        if self.topic is SUBJECT_STATUS:
            return was.get("status") != after.get("status")
        return {**was, "meta": None} != {**after, "meta": None}

    def body(self, number: int, view: View, id: str, version: int) -> dict[str, Any]:
        """A version as a view reads it."""
        path = f"r4/{self.type}/{self.made.public(view, id)}/_history/{version}"
        return self.made.api.get(f"one{number}", path).body

    def told_now(self) -> Counter[str]:
        """The addresses of all that has happened, as far as it is seen now."""
        return self.addresses(self.happened)

    def addresses(self, happened: list[Event]) -> Counter[str]:
        """The addresses of events, as far as they are seen now."""
        return Counter(
            f"{BASE}/{self.release}/{self.type}/{self.made.public(view, id)}"
            for view, id, version in happened
            if id in self.made.oracles[view].seen and _shows(self.made.oracles[view], id, version)
        )


def _shows(oracle: Oracle, id: str, version: int) -> bool:
    return any(one.version == version for one in oracle.versions(id))


def _changed(made: Scene) -> list[ResourceVersion]:
    """The next version of something of a patient's: another status, held, let go of, deleted, or a new result."""
    heads = [head for head in made.heads.values() if head.type in ("Observation", "Consent", "ResearchSubject")]
    entitled = [head for head in heads if any(made.oracles[view].entitled(head.patient) for view in made.views)]
    head = made.random.choice(entitled if entitled and made.random.random() < 0.8 else heads)
    if head.type == "Observation" or made.random.random() < 0.5:
        results = [one for one in heads if one.patient == head.patient and one.type == "Observation"]
        return [_result(made, head.patient, made.random.choice([None, *results]))]
    body = codec.decode(head.body)
    body["status"] = made.random.choice(STATUSES if head.type == "ResearchSubject" else CONSENTS)
    gone = made.random.random() < 0.1
    return [head.but(version=head.version + 1, body=codec.encode(body), status=body["status"], change=0, gone=gone)]


def _result(made: Scene, patient: str, before: ResourceVersion | None) -> ResourceVersion:
    """A result of a patient, or the next version of one."""
    number = len(made.record.versions)
    body = an_observation(f"new {number}", patient, status=made.random.choice(["final", "final", "corrected"]))
    body |= {"identifier": [{"system": "urn:oid:1.7", "value": f"Zqmark{9000 + number}q"}]}
    if before is not None:
        body |= {"id": before.id}
    held = made.random.choice(["", "", "", "a person must look"])
    return version(body, patient, version=before.version + 1 if before else 1, held=held, stored_at=made.api.now)


# --- the properties ---------------------------------------------------------------------------------------------------


def _is_told_what_is_seen(made: Scene, release: str) -> int:
    heard = Listening(made, release)
    told: list[tuple[int, str | None]] = []
    for _ in range(12):
        before = len(heard.happened)
        heard.change(_changed(made))
        found = [event for bundle in heard.tell() for event in events(bundle)]
        told += found
        news = heard.addresses(heard.happened[before:])
        assert Counter(focus for _, focus in found if focus) == (news if heard.content != "empty" else Counter())
        assert [number for number, _ in told] == list(range(1, len(heard.happened) + 1))
        _is_answered_the_same(heard)
    return len(told)


def _is_answered_the_same(heard: Listening) -> None:
    """Reading, ``$status`` and ``$events`` count what has happened, and name of it what is seen now."""
    made, path = heard.made, f"{heard.release}/Subscription/{heard.id}"
    stands = made.api.get("wide", f"{path}/$status")
    made.own |= set(re.findall(r"urn:uuid:([0-9a-f-]{36})", stands.content.decode()))
    made.heard(stands, heard.id)
    said = stands.content.decode().replace(" ", "")
    count = re.search(r'(?:events-since-subscription-start","valueString|eventsSinceSubscriptionStart)":"(\d+)"', said)
    assert count is not None
    assert int(count[1]) == len(heard.happened)
    missed = made.api.get("wide", f"{path}/$events", [("content", "full-resource")])
    made.own |= {missed.body["entry"][0]["fullUrl"][-36:]}
    made.heard(missed, heard.id)
    found = events(missed.body)
    assert [number for number, _ in found] == list(range(1, len(heard.happened) + 1))
    assert Counter(focus for _, focus in found if focus) == heard.told_now()
    made.heard(made.api.get("wide", path), heard.id)
    assert [one["id"] for one in made.get("wide", f"{heard.release}/Subscription").resources()] == [heard.id]


def test_a_subscription_tells_of_what_is_seen_and_counts_nothing_else():
    told = sum(_told(seed, ("r4", "r5")[seed % 2]) for seed in range(24))
    assert told > 30


def _told(seed: int, release: str) -> int:
    with scene(seed) as made:
        return _is_told_what_is_seen(made, release) if made.known("ResearchSubject") else 0


@given(seeds)
@some
def test_what_is_told_late_is_told_as_it_may_be_seen_then(seed):
    """An endpoint that did not answer is told again: under the same numbers, and of nothing that was taken back."""
    with scene(seed) as made:
        heard = Listening(made, made.random.choice(["r4", "r5"]))
        for _ in range(4):
            made.api.endpoint.answers.append(Unknown("no answer"))
            for _ in range(2):
                heard.change(_changed(made))
            seen = made.allowed()
            for bundle in heard.tell():
                assert set(re.findall(r"Zqmark\d{4}q", str(bundle))) <= seen
                shown = {focus for _, focus in events(bundle) if focus}
                now = {f"{BASE}/{heard.release}/{type}/{public}" for type, public in made.known()}
                assert shown <= now


@given(seeds)
@some
def test_the_subscription_of_another_is_as_if_it_never_was(seed):
    with scene(seed) as made:
        heard = Listening(made, made.random.choice(["r4", "r5"]))
        written = heard.written() | {"status": "off"}
        for _ in range(3):
            heard.change(_changed(made))
            heard.tell()
        never = uid("never")
        before = made.api.get("wide", f"{heard.release}/Subscription/{heard.id}").content
        for path in ("{}", "{}/$status", "{}/$events", "?_id={}", "$status?id={}"):
            for method in ("GET", "PUT", "DELETE", "POST"):
                asked = [Request(method, f"Subscription/{path.format(id)}".replace("/?", "?"),
                                 written | {"id": id} if method == "PUT" else None)
                         for id in (heard.id, never)]  # fmt: skip
                withheld, missing = (
                    made.api.ask("other", one.method, f"{heard.release}/{one.path}", body=one.content) for one in asked
                )
                assert withheld.status == missing.status
                assert withheld.content.decode().replace(heard.id, never) == missing.content.decode()
                assert dict(withheld.headers) == dict(missing.headers)
                assert withheld.statements == missing.statements, (method, path)
        assert made.api.get("wide", f"{heard.release}/Subscription/{heard.id}").content == before
