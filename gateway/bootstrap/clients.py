"""The clients of the FHIR API: who knows them, the routes where they get tokens, and what an operator changes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateway.bootstrap.parts import keys_of, open_store, utc_now
from gateway.errors import GatewayError, InvalidKeySet, StoreUnavailable
from gateway.jose import KeySet
from gateway.model.access import Scope
from gateway.model.client import Client, Credential
from gateway.model.delivery import View
from gateway.model.endpoints import place_of
from gateway.model.keys import Keys
from gateway.ports import Store
from gateway.release.policy import Policy
from gateway.services.authorize import Authorizer
from gateway.services.client_inbox import INBOX, leave_change, take_changes_in
from gateway.services.clients import Change, Changing, Renewal, change_clients
from gateway.services.recognise import Recognition, secret_hash
from gateway.services.throttle import Throttle
from gateway.services.tokens import Tokens
from gateway.settings import Settings

if TYPE_CHECKING:
    from fastapi import APIRouter

log = structlog.get_logger()


# --- while the gateway runs -------------------------------------------------------------------------------------------


def authorizer_of(settings: Settings, store: Store, policy: Policy, keys: Keys) -> Authorizer:
    """Return what knows callers by their tokens and counts their requests."""
    throttle = Throttle(settings.gateway.fhir.requests_per_minute)
    return Authorizer(store, keys.index, utc_now, throttle, lambda view: policy.rights(view) is not None)


def auth_api(
    settings: Settings, store: Store, keys: Keys, authorizer: Authorizer, address: Callable[[], str]
) -> APIRouter:
    """Return the routes of ``/auth``. ``address``: where this process answers, used where no base_url is set."""
    from adapters.client.key_sets import HttpsKeySets
    from gateway.api.auth import TOKEN_PATH, auth_router
    from gateway.services.key_sets import KeySets
    from gateway.tls import client_context

    wanted = settings.gateway.fhir
    context = client_context("gateway.toml", wanted.key_sets_ca_file)

    def base_url() -> str:
        return wanted.base_url or address()

    recognition = Recognition(
        store,
        KeySets(HttpsKeySets(context, wanted.private_networks)),
        keys.index,
        utc_now,
        audience=lambda: base_url() + TOKEN_PATH,
        secrets_for=partial(_may_have_secret, settings),
    )
    lasts = timedelta(seconds=wanted.token_seconds)
    tokens = Tokens(store, recognition, authorizer, authorizer.throttle, keys.index, utc_now, lasts)
    if not wanted.base_url and settings.gateway.http.host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        log.warning("[fhir] base_url is not set: clients on other machines cannot name the token endpoint")
    any_secret = any(recipient.client_secret for recipient in settings.recipients.values())
    certificates = bool(settings.gateway.http.client_ca)
    return auth_router(tokens, base_url, secrets=any_secret, certificates=certificates)


def changes_taken_in(settings: Settings, store: Store) -> Callable[[Callable[[], bool]], None]:
    """Return what makes, until it is told to stop, the changes of clients that commands leave beside the database."""
    return partial(take_changes_in, store, settings.data / INBOX)


# --- what an operator does --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What a client is to show for itself: the address or file of a key set, or a secret that is made here."""

    jwks_url: str = ""
    jwks_file: Path | None = None
    secret: bool = False


class ClientOffice:
    """Adds, renews and revokes clients. Every method says what was done; raises ``GatewayError`` when it is refused."""

    def __init__(self, settings: Settings, change: Changing, actor: str) -> None:
        self._settings = settings
        self._change = change
        self._actor = actor

    def add(self, client: Client, shown: Shown) -> tuple[str, str]:
        """Add a client and return what was done and its secret, where it has one."""
        check_scopes(client.scopes)
        credential, secret = self._credential(client.name, client.views, shown)
        added = replace(client, credential=credential, added_at=utc_now())
        return self._done(add=added), secret

    def renew(
        self, client: Client, shown: Shown, grace: timedelta, thumbprints: tuple[str, ...] | None
    ) -> tuple[str, str]:
        """Let a client show something else and return what was done and its secret, where it has one."""
        credential, secret = self._credential(client.name, client.views, shown)
        old_until = utc_now() + grace if grace else None
        return self._done(renew=Renewal(client.name, credential, old_until, thumbprints)), secret

    def revoke(self, name: str) -> str:
        """Revoke a client."""
        return self._done(revoke=name)

    def _done(self, **change: Any) -> str:
        return self._change(Change(utc_now(), self._actor, **change))

    def _credential(self, name: str, views: Iterable[View], shown: Shown) -> tuple[Credential, str]:
        if shown.secret:
            for view in views:
                if not _may_have_secret(self._settings, view):
                    file = self._settings.folder / "recipients" / f"{view.recipient}.toml"
                    raise GatewayError(f"{file}: a secret is for recipients that say client_secret = true")
            secret = secrets.token_urlsafe(32)
            return Credential(secret=secret_hash(keys_of(self._settings).index, name, secret)), secret
        if shown.jwks_url:
            place = place_of(shown.jwks_url)
            if place is None or place.scheme != "https":
                raise GatewayError(
                    f"{shown.jwks_url}: a key set is fetched over https alone, with no name in its address"
                )
            return Credential(jwks_url=shown.jwks_url), ""
        return Credential(jwks=_key_set_in(shown.jwks_file)), ""


def views_of(settings: Settings, wanted: Iterable[str]) -> tuple[View, ...]:
    """Return the views that RECIPIENT or RECIPIENT/STUDY name. Raises ``GatewayError`` naming one there is not."""
    found: dict[View, None] = {}
    for text in wanted:
        id, slash, study = text.partition("/")
        recipient = settings.recipients.get(id)
        if recipient is None:
            raise GatewayError(f"view {text}: no recipient {id!r}; there are: {', '.join(settings.recipients)}")
        if slash and study not in recipient.studies:
            raise GatewayError(f"view {text}: {id} has no study {study!r}; it has: {', '.join(recipient.studies)}")
        found |= dict.fromkeys(View(id, one) for one in ((study,) if slash else recipient.studies))
    return tuple(found)


def check_scopes(scopes: Iterable[Scope]) -> None:
    """Raise ``GatewayError`` for a scope of a type that is not served, or with a query that finds nothing in it."""
    from gateway.services.scopes import fault_of

    for scope in scopes:
        if fault := fault_of(scope):
            raise GatewayError(f"scope {scope}: {fault}")


def listed(client: Client, now: datetime) -> dict[str, Any]:
    """Return a client as a person is shown it: no key, no hash."""
    return {
        "client": client.name,
        "state": "revoked" if client.revoked_at else "rotating" if len(client.credentials(now)) > 1 else "active",
        "shows": client.credential.jwks_url or client.credential.kind,
        "keys": " ".join(KeySet(client.credential.jwks).key_ids) if client.credential.jwks else "",
        "views": " ".join(f"{view.recipient}/{view.study}" for view in client.views),
        "scopes": " ".join(map(str, client.scopes)),
        "certificates": len(client.thumbprints),
        "writes": client.writes,
        "audits": client.audits,
        "per_minute": client.per_minute or None,
        "added_at": client.added_at,
        "revoked_at": client.revoked_at,
    }


@contextmanager
def client_store(settings: Settings) -> Iterator[tuple[Store, Changing]]:
    """Open the store to look into, and what makes a change: here, or in the gateway that owns an embedded database."""
    try:
        store = open_store(settings)
        change: Changing = partial(change_clients, store)
    except StoreUnavailable:
        if not settings.embedded:
            raise
        store = open_store(settings, read_only=True)
        change = partial(leave_change, settings.data / INBOX)
    try:
        store.check_schema()
        yield store, change
    finally:
        store.close()


def _may_have_secret(settings: Settings, view: View) -> bool:
    recipient = settings.recipients.get(view.recipient)
    return recipient is not None and recipient.client_secret


def _key_set_in(file: Path | None) -> str:
    if file is None:
        raise GatewayError("name a key set, or ask for a secret")
    try:
        text = file.read_text("utf-8")
        KeySet(text)
    except OSError as error:
        raise GatewayError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise GatewayError(f"{file}: is not a key set in JSON") from None
    except InvalidKeySet as error:
        raise GatewayError(f"{file}: {error}") from None
    return text
