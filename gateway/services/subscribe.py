"""What clients do with their subscriptions: make, change, end, look, ask for what they missed.

A client knows its own alone. What it may be told is decided when it is told; here is refused what could never tell
anything: a topic, filter or endpoint that is not served, a type that none of its views or scopes lets it see.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4

from msgspec.json import encode
from msgspec.structs import replace

from gateway.errors import RequestRefused
from gateway.fhir.subscription_read import KEPT
from gateway.fhir.subscriptions import Release, Trouble
from gateway.model.access import Caller
from gateway.model.subscription import Subscription, SubscriptionState, Terms
from gateway.ports import AuditEvent, Hook, Store, Transaction
from gateway.services.graves import ended
from gateway.services.happenings import Packed, packed
from gateway.services.pull import Pull, Sight
from gateway.services.topics import TOPICS, check_criteria, topic_of

MOST: Final = 50
"""Subscriptions of a client at most."""

MOST_BYTES: Final = 32 * 1024
"""What a client may say in a subscription: all of it is read whenever something is stored."""

MOST_EVENTS: Final = 100
"""Events in an answer to ``$events`` at most."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asks, at which moment (UTC), in which release of FHIR."""

    caller: Caller
    now: datetime
    release: Release


class Subscribe:
    """Every method answers one request of a client. Raises ``RequestRefused``."""

    def __init__(self, store: Store, sight: Sight, hook: Hook) -> None:
        self._store = store
        self._sight = sight
        self._hook = hook

    def create(self, wish: Wish, status: str, terms: Terms) -> tuple[Subscription, str]:
        """Make a subscription; return it and the secret that was made for it, ``""`` when the client said one."""
        made = "" if terms.secret not in ("", KEPT) else secrets.token_urlsafe(32)
        named = tuple((name, value) for name, value in terms.headers if value != KEPT)
        terms = replace(terms, secret=made or terms.secret, headers=named, scopes=_scopes(wish))
        _check_size(terms)
        self._check(wish, terms)
        state = SubscriptionState.OFF if status == "off" else SubscriptionState.REQUESTED
        due = None if status == "off" else wish.now
        made_now = Subscription(str(uuid4()), wish.caller.client, state, terms, wish.now, due_at=due)
        with self._store.begin() as tx:
            if len(tx.subscriptions.of_client(wish.caller.client)) >= MOST:
                raise RequestRefused(422, "too-costly", f"a client has {MOST} subscriptions at most")
            tx.subscriptions.add(made_now)
            _note(tx, wish, made_now)
        return made_now, made

    def read(self, wish: Wish, id: str) -> Subscription:
        """Return a subscription of the client's."""
        with self._store.begin(write=False) as tx:
            return _own(tx, wish, id)

    def every(self, wish: Wish) -> list[Subscription]:
        """Return the client's subscriptions."""
        with self._store.begin(write=False) as tx:
            return tx.subscriptions.of_client(wish.caller.client)

    def update(self, wish: Wish, id: str, status: str, terms: Terms, version: int | None) -> Subscription:
        """Change a subscription. ``version``: the one that the client thinks it has, None: whichever.

        What is asked for anew, or after an error, begins with a handshake; the count of its events goes on.
        """
        with self._store.begin() as tx:
            before = _own(tx, wish, id, lock=True)
            if version is not None and version != before.version:
                raise RequestRefused(412, "conflict", "somebody changed it meanwhile: read it again", ("If-Match",))
            terms = replace(_with_kept(terms, before.terms), scopes=_scopes(wish))
            _check_size(terms)
            if status != "off":
                self._check(wish, terms)
            after = _changed(before, status, terms, wish.now)
            tx.subscriptions.save(after)
            _note(tx, wish, after)
        return after

    def delete(self, wish: Wish, id: str) -> None:
        """Take a subscription away. One that is not there is taken away already."""
        with self._store.begin() as tx:
            found = tx.subscriptions.get(id, lock=True) if _is_id(id) else None
            if found is not None and found.client == wish.caller.client:
                tx.subscriptions.drop(id)
                _note(tx, wish, found, "deleted")

    @contextmanager
    def events(self, wish: Wish, id: str, first: int, last: int | None) -> Iterator[tuple[Subscription, Packed]]:
        """Give the events of a subscription from ``first`` to ``last``, as the caller may see them now."""
        with self._store.begin(write=False) as tx:
            found = _own(tx, wish, id)
            upto = found.events if last is None else min(last, found.events)
            events = tx.subscriptions.events(id, max(first, 1) - 1, upto, MOST_EVENTS)
            yield found, packed(Pull(tx, self._sight, wish.caller, wish.now, wish.release), found, events)

    # --- why it tells nothing ---------------------------------------------------------------------------------------

    def troubles(self, caller: Caller, subscription: Subscription) -> list[Trouble]:
        """Return why a subscription tells nothing, as far as its client may know.

        Nothing of what the client may not see: not even that there is something.
        """
        terms = subscription.terms
        found = []
        if subscription.detail:
            code = "off" if subscription.state is SubscriptionState.OFF else "endpoint"
            found.append(Trouble(code, subscription.detail))
        if refusal := self._hook.refusal(terms.endpoint):
            found.append(Trouble("not-allowed", refusal))
        topic = TOPICS.get(terms.topic)
        found += [Trouble("not-entitled", what) for what in self._blind(caller, topic.types if topic else ())]
        return found

    def _blind(self, caller: Caller, types: Sequence[str]) -> Iterator[str]:
        rights = [rights for view in caller.views if (rights := self._sight.policy.rights(view)) is not None]
        if not any(type in one.types for one in rights for type in types):
            yield f"none of the client's views may see {' or '.join(types) or 'what it asks for'}"
        elif not any(caller.scopes_for(type, "r") for type in types):
            yield f"the client has no scope to read {' or '.join(types)}"

    def _check(self, wish: Wish, terms: Terms) -> None:
        """Raise ``RequestRefused`` (422) for what could never tell anything."""
        topic = topic_of(terms.topic)
        check_criteria(topic, terms.criteria, terms.base)
        if refusal := self._hook.refusal(terms.endpoint):
            raise RequestRefused(422, "security", refusal, ("Subscription.endpoint",))
        for what in self._blind(wish.caller, topic.types):
            raise RequestRefused(422, "security", what, ("Subscription.topic",))
        if terms.ends_at is not None and terms.ends_at <= wish.now:
            raise RequestRefused(422, "value", "its end has come already", ("Subscription.end",))


def _check_size(terms: Terms) -> None:
    if len(encode(terms)) > MOST_BYTES:
        raise RequestRefused(422, "too-long", f"a subscription has {MOST_BYTES} bytes at most")


def _own(tx: Transaction, wish: Wish, id: str, *, lock: bool = False) -> Subscription:
    found = tx.subscriptions.get(id, lock=lock) if _is_id(id) else None
    if found is not None and found.client == wish.caller.client:
        return found
    # Asked though somebody else may have one of that id: that there is one is not to be told, nor by the work done.
    if ended(tx, wish.caller.client, id):
        raise RequestRefused(410, "deleted", "this subscription was deleted")
    raise RequestRefused(404, "not-found", "there is no such subscription of this client")


def _is_id(id: str) -> bool:
    return len(id) == 36 and id.replace("-", "").isalnum() and id.count("-") == 4


def _scopes(wish: Wish) -> str:
    return " ".join(map(str, wish.caller.scopes))


def _with_kept(terms: Terms, before: Terms) -> Terms:
    """Return what was asked for, with the credentials that are to stay as they were."""
    known = dict(before.headers)
    kept = tuple((name, known.get(name, "") if value == KEPT else value) for name, value in terms.headers)
    secret = before.secret if terms.secret in ("", KEPT) else terms.secret
    return replace(terms, headers=tuple(one for one in kept if one[1]), secret=secret)


def _changed(before: Subscription, status: str, terms: Terms, now: datetime) -> Subscription:
    """Return a subscription as its client's change makes it."""
    after = before.but(terms=terms, version=before.version + 1, updated_at=now)
    if status == "off":
        return after.but(state=SubscriptionState.OFF, due_at=None, detail="")
    if before.state is SubscriptionState.ACTIVE and _same_way(before.terms, terms) and not before.failures:
        return after.but(due_at=now)
    requested = after.but(state=SubscriptionState.REQUESTED, due_at=now)
    return requested.but(failures=0, failed_at=None, detail="")


def _same_way(before: Terms, after: Terms) -> bool:
    """Whether the endpoint need not be asked again: what goes there goes in the same form, by the same way."""
    ways = [(one.topic, one.endpoint, one.headers, one.secret, one.content, one.release) for one in (before, after)]
    return ways[0] == ways[1]


def _note(tx: Transaction, wish: Wish, subscription: Subscription, what: str = "") -> None:
    action = f"subscription-{what or subscription.state}"
    tx.audit.write([AuditEvent(wish.now, action, wish.caller.client, f"subscription/{subscription.id}")])


def with_status(found: Sequence[Subscription], ids: Collection[str], states: Collection[str]) -> list[Subscription]:
    """Return those of some subscriptions that have one of these ids and of these states; empty: any."""
    return [one for one in found if (not ids or one.id in ids) and (not states or one.state.value in states)]
