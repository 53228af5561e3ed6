"""Subscription and SubscriptionTopic over HTTP (FHIR R5; R4 in the form of the Subscriptions Backport IG 1.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, Literal, cast

from gateway.api.fhir.bundles import address
from gateway.api.fhir.exchange import Asked, Rule, Told, http_date
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.subscription_forms import write_subscription
from gateway.fhir.subscription_read import read_subscription
from gateway.fhir.subscriptions import IG, notification, status, statuses
from gateway.model.subscription import Content, Subscription
from gateway.services.made import Source
from gateway.services.pull import Pull
from gateway.services.subscribe import Subscribe, Wish, with_status
from gateway.services.topics import TOPICS, topic_basic, topic_resource

_OPERATIONS: Final = f"{IG}/OperationDefinition/backport-subscription"
_CONTENTS: Final = ("empty", "id-only", "full-resource")


def subscription_rules(subscribe: Subscribe) -> list[Rule]:
    """Return the routes that are more than reading and searching."""
    api, own = _Subscriptions(subscribe), ("Subscription",)
    rules = [
        Rule("POST", "{type}", "create", api.create, types=own),
        Rule("PUT", "{type}/{id}", "update", api.update, types=own),
        Rule("DELETE", "{type}/{id}", "delete", api.delete, types=own),
    ]
    methods: tuple[Literal["GET"], Literal["POST"]] = ("GET", "POST")
    for method in methods:
        stands, missed = f"{_OPERATIONS}-status", f"{_OPERATIONS}-events"
        rules += [
            Rule(method, "{type}/$status", "$status", api.statuses, definition=stands, types=own),
            Rule(method, "{type}/{id}/$status", "$status", api.statuses, definition=stands, types=own),
            Rule(method, "{type}/{id}/$events", "$events", api.events, definition=missed, types=own),
        ]
    return rules


def subscription_sources(subscribe: Subscribe) -> dict[str, Source]:
    """Return what makes subscriptions and topics (``Shelf.sources``)."""
    return {"Subscription": partial(_own, subscribe), "SubscriptionTopic": _topics_r5, "Basic": _topics_r4}


def _own(subscribe: Subscribe, pull: Pull) -> Iterator[dict[str, Any]]:
    """Yield the client's own subscriptions."""
    for one in pull.tx.subscriptions.of_client(pull.caller.client):
        yield write_subscription(one, pull.release, subscribe.troubles(pull.caller, one))


def _topics_r5(_: Pull) -> Iterator[dict[str, Any]]:
    """Yield what can be subscribed to: the same for every client."""
    return map(topic_resource, TOPICS.values())


def _topics_r4(_: Pull) -> Iterator[dict[str, Any]]:
    """Yield the topics as R4 can say them."""
    return map(topic_basic, TOPICS.values())


class _Subscriptions:
    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe

    def create(self, asked: Asked) -> Told:
        """Make a subscription. The answer alone shows a secret that was made for it."""
        _may(asked, "c")
        wanted, terms = read_subscription(asked.resource, asked.release, asked.base)
        made, secret = self._subscribe.create(_wish(asked), wanted, terms)
        answer = self._told(asked, made, 201, secret=secret)
        return Told(201, answer.body, {**answer.headers, "Location": f"{asked.base}/Subscription/{made.id}"})

    def update(self, asked: Asked) -> Told:
        """Change a subscription."""
        _may(asked, "u")
        wanted, terms = read_subscription(asked.resource, asked.release, asked.base)
        if asked.resource.get("id") not in (None, asked.id):
            raise RequestRefused(400, "invalid", "the id in the body is not that of the address", ("Subscription.id",))
        found = self._subscribe.update(_wish(asked), asked.id, wanted, terms, _if_match(asked))
        return self._told(asked, found)

    def delete(self, asked: Asked) -> Told:
        """Take a subscription away."""
        _may(asked, "d")
        self._subscribe.delete(_wish(asked), asked.id)
        return Told(204)

    def statuses(self, asked: Asked) -> Told:
        """Return where subscriptions stand, and why one tells nothing (operation $status)."""
        _may(asked, "r")
        wish, given = _wish(asked), _parameters(asked)
        _only(asked, given, ("id", "status"))
        found = self._subscribe.every(wish) if not asked.id else [self._subscribe.read(wish, asked.id)]
        listed = with_status(found, given.get("id", ()), given.get("status", ()))
        told = [
            (
                f"{asked.base}/Subscription/{one.id}",
                status(
                    one,
                    "query-status",
                    asked.release,
                    troubles=self._subscribe.troubles(asked.caller, one),
                    base=asked.base,
                ),
            )
            for one in listed
        ]
        return Told(200, statuses(told, address(asked.base, asked.path, asked.parameters), asked.now))

    def events(self, asked: Asked) -> Told:
        """Return what happened, for who missed it (operation $events)."""
        _may(asked, "r")
        given = _parameters(asked)
        _only(asked, given, ("eventsSinceNumber", "eventsUntilNumber", "content"))
        first, last = (_number(given, name) for name in ("eventsSinceNumber", "eventsUntilNumber"))
        with self._subscribe.events(_wish(asked), asked.id, first or 1, last) as (found, packed):
            content = cast(Content, next(iter(given.get("content", ())), found.terms.content))
            if content not in _CONTENTS:
                raise RequestRefused(400, "value", f"content is one of {', '.join(_CONTENTS)}", ("content",))
            body = notification(
                found, "query-event", asked.release, asked.now, packed.events, content=content, base=asked.base
            )
            return Told(200, body, shown=packed.shown if content != "empty" else ())

    def _told(self, asked: Asked, one: Subscription, code: int = 200, *, secret: str = "") -> Told:
        headers = {"ETag": f'W/"{one.version}"', "Last-Modified": http_date(one.updated_at)}
        return Told(code, codec.encode(_form(self._subscribe, asked, one, secret)), headers)


def _form(subscribe: Subscribe, asked: Asked, one: Subscription, secret: str = "") -> dict[str, Any]:
    return write_subscription(one, asked.release, subscribe.troubles(asked.caller, one), secret=secret)


def _wish(asked: Asked) -> Wish:
    return Wish(asked.caller, asked.now, asked.release)


def _may(asked: Asked, interaction: str) -> None:
    """Raise ``RequestRefused`` (403) without a scope. One with a query is none: nothing is searched by it here."""
    if not any(not scope.query for scope in asked.scopes("Subscription", interaction)):
        raise RequestRefused(403, "forbidden", "the token's scope for Subscription has a query, which is not served")


def _if_match(asked: Asked) -> int | None:
    text = asked.headers.get("if-match", "").strip()
    if not text:
        return None
    number = text.removeprefix("W/").strip('"')
    if not (number.isdecimal() and len(number) < 19):
        raise RequestRefused(400, "value", 'If-Match is a version: W/"1"', ("If-Match",))
    return int(number)


def _only(asked: Asked, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Raise ``RequestRefused`` (400) for a parameter that is not known, unless that is to be overlooked."""
    unknown = [name for name in given if name not in known]
    if unknown and not asked.lenient:
        raise RequestRefused(400, "not-supported", f"takes: {', '.join(known)}", tuple(unknown[:1]))


def _parameters(asked: Asked) -> dict[str, list[str]]:
    """Return the parameters of an operation: those of the URL, and of Parameters in the body."""
    given: dict[str, list[str]] = {}
    for name, value in asked.parameters:
        given.setdefault(name, []).extend(value.split(","))
    if asked.method == "POST" and asked.body:
        listed = asked.resource.get("parameter", ())
        for one in listed if isinstance(listed, list) else ():
            values = [value for key, value in one.items() if key.startswith("value")] if isinstance(one, dict) else []
            given.setdefault(str(one.get("name", "")) if values else "", []).extend(str(value) for value in values)
    return given


def _number(given: Mapping[str, list[str]], name: str) -> int | None:
    text = next(iter(given.get(name, ())), None)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise RequestRefused(400, "value", f"{name} is the number of an event", (name,))
    return int(text)
