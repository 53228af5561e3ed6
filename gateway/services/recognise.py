"""Recognise: which registered client is it that asks, by a signed assertion or by a secret.

Refusals say what is wrong with the request itself. What depends on what is registered (an unknown client, another key,
a used assertion) is one and the same answer; the log says which.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import structlog

from gateway.errors import InvalidAssertion, TokenRefused
from gateway.jose import Assertion, KeySet, read_assertion
from gateway.model.client import Client, Credential
from gateway.model.delivery import View
from gateway.model.identity import mac
from gateway.ports import Clock, Store
from gateway.services.key_sets import KeySets

log = structlog.get_logger()

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST: Final = timedelta(minutes=5)
"""How far ahead an assertion may end (SMART App Launch 2.2, asymmetric client authentication)."""

SKEW: Final = timedelta(seconds=5)
"""By how much a client's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request to one of the OAuth routes: form, HTTP Basic name and password, thumbprint of the certificate shown."""

    form: Mapping[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    thumbprint: str | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    """A client and by what it was recognised; ``jti``: digest of that of its assertion, ``b""`` with a secret."""

    client: Client
    credential: Credential = field(repr=False)
    jti: bytes = b""
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Recognition:
    """Recognises clients. ``audience``: the token URL; ``secrets_for``: whether clients of a view may have secrets."""

    store: Store
    key_sets: KeySets
    index_key: bytes
    clock: Clock
    audience: Callable[[], str]
    secrets_for: Callable[[View], bool]

    def client(self, asking: Asking) -> Recognised:
        """Return the client that asks. Raises ``TokenRefused``, ``invalid_client`` or ``invalid_request``."""
        form = asking.form
        by_secret = [asking.basic] if asking.basic else []
        by_secret += [(form.get("client_id", ""), form["client_secret"])] if form.get("client_secret") else []
        by_assertion = "client_assertion" in form or "client_assertion_type" in form
        if len(by_secret) + by_assertion > 1:
            raise TokenRefused("invalid_request", "the client shows who it is in more than one way")
        if by_assertion:
            found = self._by_assertion(form)
        elif by_secret:
            found = self._by_secret(*by_secret[0])
        else:
            raise TokenRefused("invalid_client", "the client does not show who it is: send a client_assertion", 401)
        if found.client.thumbprints and asking.thumbprint not in found.client.thumbprints:
            raise TokenRefused("invalid_client", "the connection shows no certificate of this client", 401)
        return found

    def _by_assertion(self, form: Mapping[str, str]) -> Recognised:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenRefused("invalid_request", f"client_assertion_type is not {ASSERTION_TYPE}")
        try:
            assertion = read_assertion(form.get("client_assertion", ""))
            expires_at = check_claims(assertion.claims, self.audience(), self.clock())
        except InvalidAssertion as error:
            raise TokenRefused("invalid_client", str(error), 401) from None
        name = assertion.claims["sub"]
        if form.get("client_id", name) != name:
            raise TokenRefused("invalid_client", "client_id is not the sub of the assertion", 401)
        client = self._registered(name)
        for credential in client.credentials(self.clock()) if client else ():
            if client and self._signed(credential, assertion):
                jti = hashlib.sha256(assertion.claims["jti"].encode("utf-8", "replace")).digest()
                return Recognised(client, credential, jti, expires_at)
        raise self._refused(client, "no key of this client signed the assertion")

    def _signed(self, credential: Credential, assertion: Assertion) -> bool:
        if assertion.key_set_url not in ("", credential.jwks_url):
            return False
        if credential.jwks_url:
            return self.key_sets.signed(credential.jwks_url, assertion)
        return bool(credential.jwks) and _key_set(credential.jwks).signed(assertion)

    def _by_secret(self, name: str, secret: str) -> Recognised:
        client = self._registered(name)
        shown = secret_hash(self.index_key, name, secret)
        for credential in client.credentials(self.clock()) if client else ():
            if client and credential.secret and hmac.compare_digest(credential.secret, shown):
                if all(self.secrets_for(view) for view in client.views):
                    return Recognised(client, credential)
                raise self._refused(client, "a recipient's file no longer says client_secret = true")
        raise self._refused(client, "the secret is not the client's")

    def _registered(self, name: str) -> Client | None:
        with self.store.begin(write=False) as tx:
            return tx.clients.get(name)

    @staticmethod
    def _refused(client: Client | None, why: str) -> TokenRefused:
        """Return the one refusal; a name that is not registered could be anything and is not logged."""
        why = why if client is None or client.revoked_at is None else "it was revoked"
        log.warning("a client was not recognised", client=client.name if client else "(unknown)", why=why)
        return not_recognised()


def not_recognised() -> TokenRefused:
    """Return the refusal that says nothing of what is registered."""
    return TokenRefused("invalid_client", "the client is not known by what it shows", 401)


def check_claims(claims: Mapping[str, Any], audience: str, now: datetime) -> datetime:
    """Return when an assertion with these claims ends. Raises ``InvalidAssertion`` (RFC 7523, 3; SMART App Launch 2.2).

    >>> from datetime import timedelta
    >>> now = datetime(2026, 3, 1, tzinfo=UTC)
    >>> claims = {"iss": "edc", "sub": "edc", "aud": "https://x/auth/token", "jti": "1", "exp": now.timestamp() + 60}
    >>> check_claims(claims, "https://x/auth/token", now) - now
    datetime.timedelta(seconds=60)
    """
    for name in ("iss", "sub", "jti"):
        if not (isinstance(claims.get(name), str) and 0 < len(claims[name]) <= 1000):
            raise InvalidAssertion(f"the assertion has no {name}")
    if claims["iss"] != claims["sub"]:
        raise InvalidAssertion("iss and sub of the assertion are not both the client id")
    if claims.get("aud") not in (audience, [audience]):
        raise InvalidAssertion("aud of the assertion is not the address of the token endpoint")
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and begins > now + SKEW:
            raise InvalidAssertion(f"{name} of the assertion is in the future")
    return _end(claims, now)


def _end(claims: Mapping[str, Any], now: datetime) -> datetime:
    ends = _moment(claims, "exp")
    if ends is None:
        raise InvalidAssertion("the assertion has no exp")
    if ends <= now:
        raise InvalidAssertion("the assertion has expired")
    if ends > now + LONGEST + SKEW:
        raise InvalidAssertion("exp of the assertion is more than five minutes ahead")
    return ends


def secret_hash(index_key: bytes, name: str, secret: str) -> bytes:
    """Return the keyed hash of a client's secret; one that we made has 256 random bits."""
    return mac(index_key, f"client secret\x1f{name}\x1f{secret}".encode("utf-8", "replace"))


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidAssertion(f"{name} of the assertion is not a number")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidAssertion(f"{name} of the assertion is not a time") from None


@lru_cache(maxsize=256)
def _key_set(text: str) -> KeySet:
    return KeySet(text)
