"""The registered clients of the FHIR API, their access tokens, and the assertions they have used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.model.access import Scope
from gateway.model.client import AccessToken, Client
from gateway.model.delivery import View


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token lets whom do: the token's scopes and end, and of its client what stands there at this moment."""

    client: str
    views: tuple[View, ...]
    scopes: tuple[Scope, ...]
    expires_at: datetime
    thumbprint: str
    writes: bool
    audits: bool
    per_minute: int
    revoked: bool


class Clients(Protocol):
    """Clients by name, tokens by their keyed hash."""

    def add(self, client: Client) -> bool:
        """Add a client; False when there is one of that name, revoked or not."""

    def get(self, name: str, *, lock: bool = False) -> Client | None:
        """Return a client; with ``lock`` it stays as it is until the transaction ends."""

    def every(self) -> list[Client]:
        """Return every client, revoked ones too, by name."""

    def save(self, client: Client) -> None:
        """Replace a client by what it has become."""

    def issue(self, token: AccessToken) -> None:
        """Add a token."""

    def holder(self, hash: bytes) -> Holder | None:
        """Return who holds a token and what it allows: one look at an index."""

    def drop_token(self, hash: bytes, client: str) -> bool:
        """Take a token of this client away; False when it has none of that hash."""

    def drop_tokens(self, client: str) -> int:
        """Take every token of a client away and return how many."""

    def use(self, client: str, jti: bytes, expires_at: datetime) -> bool:
        """Note that a client used an assertion; False when it did before, in whatever process."""

    def sweep(self, before: datetime) -> int:
        """Take away the tokens and used assertions that ended before this and return how many."""


class KeySetSource(Protocol):
    """Where clients publish their key sets."""

    def fetch(self, url: str) -> bytes:
        """Return what stands at an address. Raises ``InvalidKeySet``, which says why in general words."""
