"""Clients, tokens and used assertions: the same on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace

import pytest

from gateway.errors import StoreError
from gateway.model.access import scopes_of
from gateway.model.client import AccessToken, Client, Credential
from gateway.model.delivery import View
from gateway.store.api_tables import clients
from tests.contracts.stores import DAY, MINUTE, NOW, SECOND

SCOPES = scopes_of("system/Observation.rs?code=http://loinc.org|718-7 system/Patient.r")
CLIENT = Client(
    name="edc",
    views=(View("edc", "mld"), View("edc", "was")),
    scopes=SCOPES,
    credential=Credential(jwks='{"keys": []}'),
    added_at=NOW,
    old=Credential(secret=b"s" * 32),
    old_until=NOW + DAY,
    thumbprints=("one", "two"),
    writes=True,
    per_minute=600,
)
TOKEN = AccessToken(b"h" * 32, "edc", SCOPES[:1], NOW + 5 * MINUTE, "one")


def begun(store, *tokens):
    """Add the client and tokens of it."""
    with store.begin() as tx:
        assert tx.clients.add(CLIENT)
        for token in tokens:
            tx.clients.issue(token)


def test_a_client_is_found_as_it_was_added(database):
    begun(database.open())

    with database.again().begin(write=False) as tx:
        assert tx.clients.get("edc") == CLIENT
        assert tx.clients.every() == [CLIENT]
        assert tx.clients.get("other") is None


def test_a_name_is_given_once(store):
    begun(store)

    with store.begin() as tx:
        assert not tx.clients.add(replace(CLIENT, writes=False))
        assert tx.clients.get("edc") == CLIENT


def test_what_is_saved_replaces_what_was(store):
    begun(store)
    changed = replace(CLIENT, credential=Credential(jwks_url="https://edc.example/jwks"), old=None, old_until=None)
    changed = replace(changed, revoked_at=NOW, thumbprints=(), audits=True)

    with store.begin() as tx:
        tx.clients.save(changed)
    with store.begin() as tx:
        assert tx.clients.get("edc", lock=True) == changed


def test_a_token_leads_to_what_its_client_may_do_now(store):
    begun(store, TOKEN)

    with store.begin() as tx:
        holder = tx.clients.holder(TOKEN.hash)
        assert (holder.client, holder.views, holder.scopes) == ("edc", CLIENT.views, SCOPES[:1])
        assert (holder.expires_at, holder.thumbprint) == (TOKEN.expires_at, "one")
        assert (holder.writes, holder.audits, holder.per_minute, holder.revoked) == (True, False, 600, False)
        assert tx.clients.holder(b"x" * 32) is None
        tx.clients.save(replace(CLIENT, revoked_at=NOW))
        assert tx.clients.holder(TOKEN.hash).revoked


def test_a_token_is_taken_away_for_its_own_client_alone(store):
    begun(store, TOKEN, replace(TOKEN, hash=b"i" * 32))

    with store.begin() as tx:
        assert not tx.clients.drop_token(TOKEN.hash, "another")
        assert tx.clients.drop_token(TOKEN.hash, "edc")
        assert not tx.clients.drop_token(TOKEN.hash, "edc")
        assert tx.clients.drop_tokens("another") == 0
        assert tx.clients.drop_tokens("edc") == 1


def test_an_assertion_is_used_once_and_by_each_client_for_itself(database):
    with database.open().begin() as tx:
        assert tx.clients.use("edc", b"j" * 32, NOW)
        assert not tx.clients.use("edc", b"j" * 32, NOW)
        assert tx.clients.use("ctms", b"j" * 32, NOW)
    with database.again().begin() as tx:
        assert not tx.clients.use("edc", b"j" * 32, NOW)


def test_of_many_who_use_an_assertion_at_once_one_does(store):
    used, together = [], threading.Barrier(6)

    def use():
        together.wait()
        with store.begin() as tx:
            used.append(tx.clients.use("edc", b"j" * 32, NOW))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(used) == [False] * 5 + [True]


def test_what_has_ended_is_swept_away_and_nothing_else(store):
    begun(store, TOKEN)
    with store.begin() as tx:
        tx.clients.use("edc", b"j" * 32, NOW)
        assert tx.clients.sweep(NOW) == 0
        assert tx.clients.sweep(NOW + SECOND) == 1
        assert tx.clients.use("edc", b"j" * 32, NOW)
        assert tx.clients.sweep(TOKEN.expires_at + SECOND) == 2
        assert tx.clients.holder(TOKEN.hash) is None


def test_a_scope_that_was_changed_outside_is_refused(store):
    begun(store)
    with store._backend.writer.begin() as connection:
        connection.execute(clients.update().values(scopes="system/*.everything"))

    with store.begin(write=False) as tx, pytest.raises(StoreError, match="changed outside"):
        tx.clients.get("edc")
