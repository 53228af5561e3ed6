"""Authorize: which client shows this access token, and what does it let it do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Final

from gateway.errors import RequestRefused
from gateway.model.access import Caller
from gateway.model.delivery import View
from gateway.model.identity import mac
from gateway.ports import Clock, Holder, Store, Transaction
from gateway.services.throttle import Throttle

LONGEST: Final = timedelta(seconds=300)
"""How long a token lasts at most. One that ends later was issued before the clock was set back."""

_LONGEST_TOKEN: Final = 256


class Authorizer:
    """Knows callers by their tokens, looked up each time: taking one away, or a client, works at once.

    ``serves`` says whether a view is one of the configuration's: one that is no longer there is no view of anybody.
    """

    def __init__(
        self, store: Store, index_key: bytes, clock: Clock, throttle: Throttle, serves: Callable[[View], bool]
    ) -> None:
        self._store = store
        self._key = index_key
        self._clock = clock
        self.throttle = throttle
        self._serves = serves
        self._rates: dict[str, int] = {}

    def caller(self, token: str, thumbprint: str | None = None, tx: Transaction | None = None) -> Caller:
        """Return who shows a token over a connection with a certificate of this thumbprint (x5t#S256; None: with none).

        It is looked up in the transaction that is open, if one is.
        Raises ``RequestRefused``: 401 ``login`` (not a token of ours, taken away, or bound to another certificate) or
        ``expired``.
        """
        if not 0 < len(token) <= _LONGEST_TOKEN:
            raise _login()
        with nullcontext(tx) if tx else self._store.begin(write=False) as look:
            holder = look.clients.holder(token_hash(self._key, token))
        if holder is None or holder.revoked or (holder.thumbprint and holder.thumbprint != thumbprint):
            raise _login()
        self._check_time(holder)
        self._rates[holder.client] = holder.per_minute
        return Caller(
            client=holder.client,
            views=tuple(view for view in holder.views if self._serves(view)),
            scopes=holder.scopes,
            writes=holder.writes,
            audits=holder.audits,
            per_minute=holder.per_minute,
        )

    def take(self, client: str) -> None:
        """Count a request of a client that was known by a token. Raises ``RequestRefused`` (429): one too many."""
        self.throttle.take(client, self._rates.get(client, 0))

    def _check_time(self, holder: Holder) -> None:
        if not timedelta(0) < holder.expires_at - self._clock() <= LONGEST:
            raise RequestRefused(401, "expired", "the access token has expired: ask for another one")


def new_token() -> str:
    """Return a new access token: 256 random bits, and nothing that could be read from it."""
    return secrets.token_urlsafe(32)


def token_hash(index_key: bytes, token: str) -> bytes:
    """Return the keyed hash by which a token is found."""
    return mac(index_key, b"access token\x1f" + token.encode("utf-8", "replace"))


def _login() -> RequestRefused:
    return RequestRefused(401, "login", "the access token is not one that is good here: ask for another one")
