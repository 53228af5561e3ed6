"""Add, renew and revoke the clients of the FHIR API; every change is a line of the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from msgspec import Struct

from gateway.errors import GatewayError
from gateway.model.client import Client, Credential
from gateway.model.subscription import REVOKED, SubscriptionState
from gateway.ports import AuditEvent, Store, Transaction


class Renewal(Struct, frozen=True):
    """What a client shows for itself from now on. The old credential is good until ``old_until`` (None: no longer).

    ``thumbprints``: of its certificates from now on; None: as before.
    """

    name: str
    credential: Credential
    old_until: datetime | None = None
    thumbprints: tuple[str, ...] | None = None


class Change(Struct, frozen=True):
    """One thing an operator does to the clients: ``actor`` adds one, renews what one shows, or revokes one by name."""

    at: datetime
    actor: str
    add: Client | None = None
    renew: Renewal | None = None
    revoke: str = ""


def change_clients(store: Store, change: Change) -> str:
    """Make a change and say what was done; made twice, it is done once. Raises ``GatewayError`` when it cannot be."""
    with store.begin() as tx:
        if change.add is not None:
            return _add(tx, change, change.add)
        if change.renew is not None:
            return _renew(tx, change, change.renew)
        return _revoke(tx, change)


def _add(tx: Transaction, change: Change, client: Client) -> str:
    if not tx.clients.add(client):
        if tx.clients.get(client.name) == client:
            return f"client {client.name} is added"
        raise GatewayError(f"client {client.name}: there is one of that name, or was; names are not given twice")
    views = " ".join(f"{view.recipient}/{view.study}" for view in client.views)
    rights = [right for right, has in (("writes", client.writes), ("audits", client.audits)) if has]
    detail = f"{client.credential.kind}; {views}; {' '.join(map(str, client.scopes))}; {' '.join(rights)}".rstrip("; ")
    tx.audit.write([_line(change, "client-added", client.name, detail)])
    return f"client {client.name} is added"


def _renew(tx: Transaction, change: Change, renewal: Renewal) -> str:
    client = _known(tx, renewal.name)
    if client.revoked_at is not None:
        raise GatewayError(f"client {renewal.name} was revoked; add another one")
    before = client.old if client.credential == renewal.credential else client.credential
    old = before if renewal.old_until else None
    renewed = replace(
        client,
        credential=renewal.credential,
        old=old,
        old_until=renewal.old_until if old else None,
        thumbprints=client.thumbprints if renewal.thumbprints is None else renewal.thumbprints,
    )
    if renewed == client:
        return f"client {renewal.name} shows that already"
    tx.clients.save(renewed)
    kept = f"the old one is good until {renewal.old_until:%Y-%m-%dT%H:%M:%SZ}" if renewal.old_until else ""
    if not renewal.old_until:
        tx.clients.drop_tokens(renewal.name)
    detail = f"{renewal.credential.kind}; {kept}".rstrip("; ")
    tx.audit.write([_line(change, "client-rotated", renewal.name, detail)])
    return f"client {renewal.name}: {kept or 'the old one and its tokens are no longer good'}"


def _revoke(tx: Transaction, change: Change) -> str:
    client = _known(tx, change.revoke)
    if client.revoked_at is not None:
        return f"client {client.name} is revoked since {client.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
    tx.clients.save(replace(client, revoked_at=change.at, old=None, old_until=None))
    tx.clients.drop_tokens(client.name)
    tx.audit.write([_line(change, "client-revoked", client.name), *_subscriptions_ended(tx, change, client.name)])
    return f"client {client.name} is revoked; its tokens are no longer good"


def _subscriptions_ended(tx: Transaction, change: Change, name: str) -> Iterator[AuditEvent]:
    """Switch a client's subscriptions off; a notification that is under way is the last."""
    for id in [one.id for one in tx.subscriptions.of_client(name)]:
        found = tx.subscriptions.get(id, lock=True)
        if found is not None and found.state is not SubscriptionState.OFF:
            ended = found.but(state=SubscriptionState.OFF, due_at=None, detail=REVOKED, updated_at=change.at)
            tx.subscriptions.save(ended.but(version=found.version + 1))
            yield AuditEvent(change.at, f"subscription-{ended.state}", change.actor, f"subscription/{id}", REVOKED)


def _known(tx: Transaction, name: str) -> Client:
    client = tx.clients.get(name, lock=True)
    if client is None:
        names = ", ".join(one.name for one in tx.clients.every() if one.revoked_at is None) or "none"
        raise GatewayError(f"client {name}: there is none of that name; there are: {names}")
    return client


def _line(change: Change, action: str, name: str, detail: str = "") -> AuditEvent:
    return AuditEvent(change.at, action, change.actor, f"client/{name}", detail)


Changing = Callable[[Change], str]
"""Makes a change, here or where the database is owned, and says what was done. Raises ``GatewayError``."""
