"""A registered client of the FHIR API: what it may ask for, by what it is recognised, and the tokens it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.model.access import Scope
from gateway.model.delivery import View


@dataclass(frozen=True, slots=True)
class Credential:
    """By what a client is recognised: a JWK Set as text, the address of one, or a secret (its keyed hash)."""

    jwks: str = ""
    jwks_url: str = ""
    secret: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return "secret" if self.secret else "key set by address" if self.jwks_url else "key set"


@dataclass(frozen=True, slots=True)
class Client:
    """A trial system that may ask for access tokens; ``name`` is its client id.

    ``old``: what it was recognised by before, good until ``old_until``. ``thumbprints``: of the certificates
    (x5t#S256) to one of which its tokens are bound; empty: they are bearer tokens. ``per_minute``: requests; 0: what
    the settings say. Moments are UTC.
    """

    name: str
    views: tuple[View, ...]
    scopes: tuple[Scope, ...]
    credential: Credential = field(repr=False)
    added_at: datetime
    old: Credential | None = None
    old_until: datetime | None = None
    thumbprints: tuple[str, ...] = ()
    writes: bool = False
    audits: bool = False
    per_minute: int = 0
    revoked_at: datetime | None = None

    def credentials(self, now: datetime) -> tuple[Credential, ...]:
        """Return by what it is recognised now: nothing when it was revoked."""
        if self.revoked_at is not None:
            return ()
        still = self.old is not None and self.old_until is not None and now < self.old_until
        return (self.credential, self.old) if still and self.old else (self.credential,)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is stored.

    ``hash``: keyed, of what the client holds; ``thumbprint``: of the certificate it is bound to, or ``""``.
    """

    hash: bytes = field(repr=False)
    client: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    thumbprint: str = ""
