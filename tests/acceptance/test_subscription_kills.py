"""The gateway is killed while an endpoint has taken a notification and not answered: the same events come once more."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from fixtures.standins.rest_hook import RestHookStandIn
from gateway.fhir.subscription_read import SECRET_HEADER
from gateway.model.access import scopes_of
from gateway.model.client import AccessToken, Client, Credential
from gateway.model.delivery import View
from gateway.services.authorize import token_hash
from gateway.services.topics import OBSERVATION
from gateway.settings import read_keys
from gateway.store import create_store
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import Deployment
from tests.subscribing import r4

SCOPES = scopes_of("system/*.rs system/Subscription.cruds")


@pytest.fixture
def standin():
    made = RestHookStandIn()
    yield made
    made.answering.set()
    made.close()


def let_in(deployment):
    """Give a client of the recipient edc a token, before the gateway begins; return the token."""
    settings, token, now = deployment.settings, secrets.token_urlsafe(32), datetime.now(UTC)
    keys = read_keys(settings.key_file)
    settings.data.mkdir(parents=True, exist_ok=True)
    store = create_store(settings.database_url.get_secret_value(), keys)
    store.upgrade()
    views = tuple(View("edc", study) for study in settings.recipients["edc"].studies)
    with store.begin() as tx:
        tx.clients.add(Client("trial", views, SCOPES, Credential(), now))
        hash = token_hash(keys.index, token)
        tx.clients.issue(AccessToken(hash, "trial", SCOPES, now + timedelta(seconds=290)))
    store.close()
    return token


def test_killed_before_the_endpoint_answered_it_is_told_again_under_the_same_numbers(tmp_path, standin, year):
    made = Deployment(tmp_path)
    with (made.config / "gateway.toml").open("a") as file:
        file.write(f'\n[fhir]\nsubscription_endpoints = ["{standin.address}"]\n')
    token = let_in(made)
    with made as deployment:
        member = deployment.members["gateway"]
        standin.secrets[""] = secret = secrets.token_urlsafe(32)
        channel = {"endpoint": f"{standin.address}x", "header": [f"{SECRET_HEADER}: {secret}"]}
        answer = httpx.post(
            f"{member.address}/fhir/r4/Subscription",
            json=r4(OBSERVATION, channel=channel),
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE,
        )
        id = answer.json()["id"]

        def stands():
            with deployment.store.begin(write=False) as tx:
                return tx.subscriptions.get(id)

        wait_for(lambda: stands().state == "active", what="a handshake")
        standin.answering.clear()
        for message in year:
            deployment.send(message)
            deployment.settle()
            if standin.events:
                break
        wait_for(lambda: standin.events, what="a notification")
        taken = list(standin.events)
        deployment.kill("gateway")
        standin.answering.set()
        deployment.restart("gateway")
        wait_for(lambda: stands().settled == stands().events, what="what was told again")

        assert standin.events[: 2 * len(taken)] == taken + taken
        known = dict.fromkeys(standin.events)
        assert list(known) == list(range(1, len(known) + 1))
        deployment.stop()
