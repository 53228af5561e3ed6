"""The clients of the FHIR API, their tokens and the assertions they used."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from gateway.errors import StoreError
from gateway.model.access import Scope, scope_of
from gateway.model.client import AccessToken, Client, Credential
from gateway.model.delivery import View
from gateway.ports.clients import Holder
from gateway.store.api_tables import assertions, clients, tokens
from gateway.store.backend import Unit, ignoring

_C, _T, _A = clients.c, tokens.c, assertions.c
_HOLDER: Final = (
    select(_C.name, _C.views, _C.writes, _C.audits, _C.per_minute, _C.revoked_at)
    .add_columns(_T.scopes, _T.expires_at, _T.thumbprint)
    .join_from(tokens, clients, _C.name == _T.client)
    .where(_T.hash == bindparam("hash"))
)
_ISSUE: Final = tokens.insert()


class SqlClients:
    """The clients of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def add(self, client: Client) -> bool:
        """Add a client; False when there is one of that name, revoked or not."""
        adding = ignoring(self._unit.backend.insert, clients, "name").returning(_C.name)
        return self._connection.execute(adding, _row(client)).scalar() is not None

    def get(self, name: str, *, lock: bool = False) -> Client | None:
        """Return a client; with ``lock`` it stays as it is until the transaction ends."""
        query = select(clients).where(_C.name == name)
        row = self._connection.execute(query.with_for_update(read=True) if lock else query).one_or_none()
        return _client(row) if row else None

    def every(self) -> list[Client]:
        """Return every client, revoked ones too, by name."""
        return [_client(row) for row in self._connection.execute(select(clients).order_by(_C.name))]

    def save(self, client: Client) -> None:
        """Replace a client by what it has become."""
        self._connection.execute(update(clients).where(_C.name == client.name).values(_row(client)))

    def issue(self, token: AccessToken) -> None:
        """Add a token."""
        row = {"hash": token.hash, "client": token.client, "scopes": _written(token.scopes)}
        self._connection.execute(_ISSUE, row | {"thumbprint": token.thumbprint, "expires_at": token.expires_at})

    def holder(self, hash: bytes) -> Holder | None:
        """Return who holds a token and what it allows: one look at an index."""
        row = self._connection.execute(_HOLDER, {"hash": hash}).one_or_none()
        if row is None:
            return None
        return Holder(
            client=row.name,
            views=views_of(row.views),
            scopes=_scopes(row.scopes),
            expires_at=row.expires_at,
            thumbprint=row.thumbprint,
            writes=row.writes,
            audits=row.audits,
            per_minute=row.per_minute,
            revoked=row.revoked_at is not None,
        )

    def drop_token(self, hash: bytes, client: str) -> bool:
        """Take a token of this client away; False when it has none of that hash."""
        return self._connection.execute(delete(tokens).where(_T.hash == hash, _T.client == client)).rowcount > 0

    def drop_tokens(self, client: str) -> int:
        """Take every token of a client away and return how many."""
        return self._connection.execute(delete(tokens).where(_T.client == client)).rowcount

    def use(self, client: str, jti: bytes, expires_at: datetime) -> bool:
        """Note that a client used an assertion; False when it did before, in whatever process."""
        using = ignoring(self._unit.backend.insert, assertions, "client", "jti").returning(_A.client)
        row = {"client": client, "jti": jti, "expires_at": expires_at}
        return self._connection.execute(using, row).scalar() is not None

    def sweep(self, before: datetime) -> int:
        """Take away the tokens and used assertions that ended before this and return how many."""
        gone = (delete(table).where(table.c.expires_at < before) for table in (tokens, assertions))
        return sum(self._connection.execute(statement).rowcount for statement in gone)


def _row(client: Client) -> dict[str, Any]:
    old = client.old or Credential()
    return {
        "name": client.name,
        "views": json.dumps([[view.recipient, view.study] for view in client.views]),
        "scopes": _written(client.scopes),
        "jwks": client.credential.jwks,
        "jwks_url": client.credential.jwks_url,
        "secret": client.credential.secret or None,
        "old_jwks": old.jwks,
        "old_jwks_url": old.jwks_url,
        "old_secret": old.secret or None,
        "old_until": client.old_until,
        "thumbprints": " ".join(client.thumbprints),
        "writes": client.writes,
        "audits": client.audits,
        "per_minute": client.per_minute,
        "added_at": client.added_at,
        "revoked_at": client.revoked_at,
    }


def _client(row: Any) -> Client:
    old = Credential(row.old_jwks, row.old_jwks_url, bytes(row.old_secret or b""))
    return Client(
        name=row.name,
        views=views_of(row.views),
        scopes=_scopes(row.scopes),
        credential=Credential(row.jwks, row.jwks_url, bytes(row.secret or b"")),
        old=old if old != Credential() else None,
        old_until=row.old_until,
        thumbprints=tuple(row.thumbprints.split()),
        writes=row.writes,
        audits=row.audits,
        per_minute=row.per_minute,
        added_at=row.added_at,
        revoked_at=row.revoked_at,
    )


def _written(scopes: tuple[Scope, ...]) -> str:
    return " ".join(map(str, scopes))


@lru_cache(maxsize=256)
def _scopes(text: str) -> tuple[Scope, ...]:
    found = [scope_of(word) for word in text.split()]
    if None in found:
        raise StoreError("clients: a scope was changed outside the gateway")
    return tuple(scope for scope in found if scope)


@lru_cache(maxsize=256)
def views_of(text: str) -> tuple[View, ...]:
    """Return the views that a client's row names."""
    return tuple(View(recipient, study) for recipient, study in json.loads(text))
