"""Subscriptions in the small world of releasing: a client, its views, and an endpoint that keeps what it is told."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec.structs import replace

from fixtures.standins.serving import capture
from gateway.fhir import codec
from gateway.fhir.subscription_read import read_subscription
from gateway.model.access import Caller, scopes_of
from gateway.model.client import Client, Credential
from gateway.model.delivery import Accepted, Outcome, View
from gateway.model.endpoints import Endpoints
from gateway.model.subscription import Notification
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.notify import Notify, Patience
from gateway.services.pull import Sight
from gateway.services.subscribe import Subscribe, Wish
from gateway.services.topics import OBSERVATION, SUBJECT_STATUS
from tests.releasing import MLD, NOON, WAS, World, a_study, recipient, world

ENDPOINT = "https://ctms.example/notify"
BASE = "https://gateway.example/fhir/r4"
IG = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
VIEWS = (View("edc", "mld"),)
SCOPES = "system/*.rs system/Subscription.cruds"


@dataclass
class Endpoint:
    """A way to endpoints that ends here: keeps what it is told, answers what it is told to, else that it arrived."""

    told: list[Notification] = field(default_factory=list)
    answers: deque[Outcome | Exception] = field(default_factory=deque)
    endpoints: Endpoints = field(default_factory=lambda: Endpoints(["https://ctms.example/"]))

    def refusal(self, endpoint):
        return self.endpoints.refusal(endpoint)

    def notify(self, notification):
        self.told.append(notification)
        capture(notification.body)
        answer = self.answers.popleft() if self.answers else Accepted("HTTP 200")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass

    @property
    def bundles(self):
        return [codec.decode(one.body) for one in self.told]


def r4(topic=SUBJECT_STATUS, *, content="id-only", criteria=(), status="requested", **changes):
    """A Subscription as the Backport IG writes it."""
    channel = {
        "type": "rest-hook",
        "endpoint": ENDPOINT,
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": f"{IG}/backport-payload-content", "valueCode": content}]},
    }
    filters = [{"url": f"{IG}/backport-filter-criteria", "valueString": text} for text in criteria]
    written = {
        "resourceType": "Subscription",
        "status": status,
        "reason": "tests",
        "criteria": topic.url,
        "channel": channel | changes.pop("channel", {}),
    }
    return written | ({"_criteria": {"extension": filters}} if filters else {}) | changes


def r5(topic=SUBJECT_STATUS, *, content="id-only", filters=(), **changes):
    """A Subscription as R5 writes it."""
    written = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": topic.url,
        "channelType": {
            "system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type",
            "code": "rest-hook",
        },
        "endpoint": ENDPOINT,
        "content": content,
    }
    return written | ({"filterBy": list(filters)} if filters else {}) | changes


class Trial:
    """The world, with what tells. Time goes on when it is told to."""

    def __init__(self, made: World, views=VIEWS, scopes=SCOPES) -> None:
        self.world = made
        self.store = made.store
        self.endpoint = Endpoint()
        self.client = Client("ctms", tuple(views), scopes_of(scopes), Credential(jwks="{}"), NOON)
        with self.store.begin() as tx:
            tx.clients.add(self.client)
        made.write(a_study(MLD), a_study(WAS))
        self.begin_again()

    def begin_again(self, owner="test"):
        """As a process that begins: nothing is remembered but what is stored."""
        sight = Sight(self.world.policy, Enrolments(self.world.policy), Concerns())
        self.notify = Notify(self.store, sight, self.endpoint, lambda: self.world.now, owner, patience=Patience())
        self.subscribe = Subscribe(self.store, sight, self.endpoint)

    def wish(self, release="R4", client=None):
        client = client or self.client
        return Wish(Caller(client.name, client.views, client.scopes), self.world.now, release)

    def create(self, written=None, release="R4"):
        status, terms = read_subscription(written or r4(), release, BASE)
        return self.subscribe.create(self.wish(release), status, terms)[0]

    def subscribed(self, written=None, release="R4"):
        """A subscription whose endpoint has shaken hands; that is not kept."""
        made = self.create(written, release)
        self.tell()
        assert self.stands(made).state == "active"
        self.endpoint.told.clear()
        return made

    def update(self, one, written, release="R4", version=None):
        status, terms = read_subscription(written, release, BASE)
        return self.subscribe.update(self.wish(release), one.id, status, terms, version)

    def step(self):
        """Attend to one subscription; None when none is due."""
        claimed = self.notify.claim()
        return None if claimed is None else self.notify.attend(claimed)

    def tell(self):
        """Attend to whatever is due now and return the Bundles sent by that."""
        before = len(self.endpoint.told)
        while self.step() is not None:
            pass
        return self.endpoint.bundles[before:]

    def pass_time(self, **time):
        self.world.now += timedelta(**time)

    def stands(self, one):
        with self.store.begin(write=False) as tx:
            return tx.subscriptions.get(one.id)

    def change(self, one, **terms):
        """Change what was asked for, as it is stored."""
        with self.store.begin() as tx:
            stands = tx.subscriptions.get(one.id)
            tx.subscriptions.save(stands.but(terms=replace(stands.terms, **terms)))

    def answers(self):
        with self.store.begin(write=False) as tx:
            return tx.answers.find(client="ctms")

    def audit(self, one):
        with self.store.begin(write=False) as tx:
            return [(line.action, line.detail) for line in tx.audit.find(subject=f"subscription/{one.id}")][::-1]


@contextmanager
def trial(folder, *recipients, **options):
    with world(folder, *(recipients or (recipient(),))) as made:
        yield Trial(made, **options)


def events(bundle):
    """(number, focus) of each event a notification tells of."""
    first = bundle["entry"][0]["resource"]
    if first["resourceType"] == "SubscriptionStatus":
        told = first.get("notificationEvent", ())
        return [(int(one["eventNumber"]), one.get("focus", {}).get("reference")) for one in told]
    found = []
    for one in first["parameter"]:
        if one["name"] == "notification-event":
            parts = {part["name"]: part for part in one["part"]}
            focus = parts.get("focus", {}).get("valueReference", {}).get("reference")
            found.append((int(parts["event-number"]["valueString"]), focus))
    return found


def kind(bundle):
    """Return the type of a notification."""
    first = bundle["entry"][0]["resource"]
    if first["resourceType"] == "SubscriptionStatus":
        return first["type"]
    return next(one["valueCode"] for one in first["parameter"] if one["name"] == "type")


def numbers(bundles):
    return [number for bundle in bundles for number, _ in events(bundle)]


__all__ = ["OBSERVATION", "SUBJECT_STATUS", "Endpoint", "Trial", "events", "kind", "numbers", "r4", "r5", "trial"]
