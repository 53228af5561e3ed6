"""Grant access tokens to clients, say what they are, and take them back (RFC 6749, 7662, 7009)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

import structlog

from gateway.errors import RequestRefused, TokenRefused, VersionConflict
from gateway.model.access import Scope, granted, scopes_of
from gateway.model.client import AccessToken
from gateway.ports import Clock, Store, Transaction
from gateway.services.authorize import Authorizer, new_token, token_hash
from gateway.services.recognise import Asking, Recognised, Recognition, not_recognised
from gateway.services.throttle import Throttle

log = structlog.get_logger()

_SWEEP_EVERY: Final = timedelta(minutes=1)
_KEPT: Final = timedelta(hours=1)
"""For how long a token is known to have expired, and not just unknown."""


@dataclass
class Tokens:
    """The OAuth routes but for HTTP. Every method raises ``TokenRefused``. Safe from any thread."""

    store: Store
    recognition: Recognition
    authorizer: Authorizer
    throttle: Throttle
    index_key: bytes
    clock: Clock
    lasts: timedelta

    def __post_init__(self) -> None:
        self._swept = self.clock()
        self._sweeping = threading.Lock()

    def grant(self, asking: Asking) -> dict[str, Any]:
        """Return the answer with a new access token; ``scope`` in it is what was granted (RFC 6749, 4.4 and 5.1)."""
        kind = asking.form.get("grant_type", "")
        if not kind:
            raise TokenRefused("invalid_request", "grant_type is missing")
        if kind != "client_credentials":
            raise TokenRefused("unsupported_grant_type", "the only grant_type is client_credentials")
        found = self.recognition.client(asking)
        self._count(found.client.name, found.client.per_minute)
        self._sweep()
        scopes, refusal = _granted(asking.form, found.client.scopes)
        text = new_token()
        token = AccessToken(
            hash=token_hash(self.index_key, text),
            client=found.client.name,
            scopes=scopes,
            expires_at=self.clock() + self.lasts,
            thumbprint=(asking.thumbprint or "") if found.client.thumbprints else "",
        )
        with self.store.begin() as tx:
            used = self._used(tx, found)
            if used and scopes:
                tx.clients.issue(token)
        if not used:
            raise self._again(found)
        if refusal:
            raise refusal
        log.info("a token was granted", client=found.client.name, scopes=len(scopes))
        seconds = int(self.lasts.total_seconds())
        return {
            "access_token": text,
            "token_type": "bearer",
            "expires_in": seconds,
            "scope": " ".join(map(str, scopes)),
        }

    def introspect(self, asking: Asking, bearer: str = "") -> dict[str, Any]:
        """Say what a token is to the client that holds it; ``{"active": False}`` of any other (RFC 7662, 2.2).

        The client shows who it is as it does for a token, or by a token of its own (``bearer``).
        """
        client = self._asking(asking, bearer)
        token = _token(asking.form)
        hash = token_hash(self.index_key, token)
        with self.store.begin(write=False) as tx:
            holder = tx.clients.holder(hash)
        if holder is None or holder.client != client or holder.revoked or holder.expires_at <= self.clock():
            return {"active": False}
        told: dict[str, Any] = {
            "active": True,
            "client_id": holder.client,
            "sub": holder.client,
            "scope": " ".join(map(str, holder.scopes)),
            "exp": int(holder.expires_at.timestamp()),
            "token_type": "bearer",
        }
        return told | ({"cnf": {"x5t#S256": holder.thumbprint}} if holder.thumbprint else {})

    def revoke(self, asking: Asking) -> None:
        """Take a token of the client back; one that is not its own is left alone in silence (RFC 7009, 2.2)."""
        client = self._asking(asking)
        hash = token_hash(self.index_key, _token(asking.form))
        with self.store.begin() as tx:
            dropped = tx.clients.drop_token(hash, client)
        if dropped:
            log.info("a token was revoked by its client", client=client)

    def _asking(self, asking: Asking, bearer: str = "") -> str:
        """Return the name of the client that asks."""
        if bearer:
            try:
                caller = self.authorizer.caller(bearer, asking.thumbprint)
            except RequestRefused as error:
                raise TokenRefused("invalid_token", error.what, 401) from None
            self._count(caller.client, caller.per_minute)
            return caller.client
        found = self.recognition.client(asking)
        self._count(found.client.name, found.client.per_minute)
        with self.store.begin() as tx:
            used = self._used(tx, found)
        if not used:
            raise self._again(found)
        return found.client.name

    def _used(self, tx: Transaction, found: Recognised) -> bool:
        """Use an assertion up; False when it was before, or the client was changed since it was recognised."""
        client = tx.clients.get(found.client.name, lock=True)
        if client is None or found.credential not in client.credentials(self.clock()):
            return False
        return found.expires_at is None or tx.clients.use(client.name, found.jti, found.expires_at)

    @staticmethod
    def _again(found: Recognised) -> TokenRefused:
        log.warning("a client was not recognised", client=found.client.name, why="the assertion was used before")
        return not_recognised()

    def _count(self, client: str, per_minute: int) -> None:
        """Count it among the client's requests. Before the client was recognised, anybody could have used them up."""
        wait = self.throttle.wait(client, per_minute)
        if wait:
            what = "more requests than this client may make in a minute"
            raise TokenRefused("temporarily_unavailable", what, 429, retry_after=ceil(wait))

    def _sweep(self) -> None:
        """Now and then take away what ended long ago."""
        now = self.clock()
        with self._sweeping:
            if abs(now - self._swept) < _SWEEP_EVERY:
                return
            self._swept = now
        self._sweep_before(now - _KEPT)

    def _sweep_before(self, before: datetime) -> None:
        try:
            with self.store.begin() as tx:
                tx.clients.sweep(before)
        except VersionConflict:
            log.debug("another process takes away old tokens")  # it does the same


def _fault_of(scope: Scope) -> str:
    from gateway.services.scopes import fault_of  # what a command need not load

    return fault_of(scope)


def _token(form: Mapping[str, str]) -> str:
    if not form.get("token"):
        raise TokenRefused("invalid_request", "token is missing")
    return form["token"]


def _granted(form: Mapping[str, str], registered: tuple[Scope, ...]) -> tuple[tuple[Scope, ...], TokenRefused | None]:
    """Return what a client gets, and if it is nothing the refusal."""
    asked = scopes_of(form.get("scope", ""))
    if asked is None:
        return (), TokenRefused("invalid_scope", "scope holds what is not system/TYPE.cruds, or more than 50 of it")
    if not asked:
        return (), TokenRefused("invalid_scope", "scope is missing: say what the token is for")
    scopes = tuple(scope for scope in granted(asked, registered) if not (scope.query and _fault_of(scope)))
    if not scopes:
        what = "the client is registered for nothing of the scope, or its query is no search that is served"
        return (), TokenRefused("invalid_scope", what)
    return scopes, None
