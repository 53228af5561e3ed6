from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from adapters.recipient.webhook import Webhook, signature
from fixtures.standins.webhook import WebhookStandIn
from gateway.errors import ConfigurationError
from gateway.fhir import codec
from gateway.model.delivery import Accepted, ChangeKind, Deferred, Refused, Unknown
from tests.contracts.far_end import FarEnd, answer
from tests.contracts.packages import observation, package, patient, recipient, released

SECRET = "only for this test"


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", SECRET)


@pytest.fixture
def standin():
    made = WebhookStandIn(SECRET)
    yield made
    made.close()


def deliver(address, sent, clock=lambda: datetime.now(UTC), **changes):
    adapter = Webhook(recipient("webhook", address=address, secret_env="HOOK_SECRET", **changes), clock=clock)
    try:
        return adapter.deliver(sent)
    finally:
        adapter.close()


def test_a_signed_bundle_of_changes_arrives(standin):
    outcome = deliver(standin.address, package())

    assert isinstance(outcome, Accepted)
    assert standin.resources == {"Patient/p1": patient(), "Observation/o1": observation()}
    assert standin.forged == 0


def test_every_version_arrives_in_order(standin):
    first, second = observation(value="1"), observation(value="2")

    deliver(standin.address, package(released(first), released(second, ChangeKind.UPDATED, 2)))

    entries = standin.bundles[0]["entry"]
    assert [entry["resource"]["valueQuantity"]["value"] for entry in entries] == [1, 2]
    assert [entry["response"]["etag"] for entry in entries] == ['W/"1"', 'W/"2"']


def test_a_retraction_may_be_a_deletion(standin):
    gone = released({**observation(), "status": "entered-in-error"}, ChangeKind.RETRACTED, 2)
    deliver(standin.address, package())

    deliver(standin.address, package(gone, delivery_id="7-2"), retraction="delete")

    assert standin.resources["Observation/o1"] is None


def test_what_nothing_can_be_said_of_but_that_it_is_gone_is_a_deletion(standin):
    gone = replace(released(observation(), ChangeKind.RETRACTED, 2), text=b"{}")
    deliver(standin.address, package())

    deliver(standin.address, package(gone, delivery_id="7-2"), retraction="mark")

    assert standin.resources["Observation/o1"] is None


def test_a_repeat_carries_the_same_delivery_id_and_can_be_dropped(standin):
    deliver(standin.address, package())
    deliver(standin.address, package(repeat=True))

    assert (standin.deliveries, standin.repeats) == (["7-1"], ["7-1"])


def test_the_headers_say_who_when_and_which_delivery():
    far_end = FarEnd(lambda _: answer(204))
    now = datetime(2025, 3, 1, 12, tzinfo=UTC)
    deliver(far_end.address, package(), clock=lambda: now)
    far_end.close()

    (seen,) = far_end.seen
    assert seen.headers["x-gateway-delivery"] == seen.headers["idempotency-key"] == "7-1"
    assert seen.headers["x-gateway-timestamp"] == str(int(now.timestamp()))
    assert seen.headers["x-gateway-signature"] == signature(SECRET.encode(), str(int(now.timestamp())), seen.body)
    assert codec.decode(seen.body)["identifier"]["value"] == "7-1"


def test_a_receiver_refuses_an_old_or_altered_delivery(standin):
    def an_hour_ago():
        return datetime.now(UTC) - timedelta(hours=1)

    outcome = deliver(standin.address, package(), clock=an_hour_ago)

    assert isinstance(outcome, Deferred)
    assert outcome.breaker
    assert standin.forged == 1


@pytest.mark.parametrize(("status", "kind"), [(422, Refused), (503, Deferred), (500, Unknown), (409, Unknown)])
def test_what_the_receiver_answers_decides(status, kind):
    far_end = FarEnd(lambda _: answer(status))
    outcome = deliver(far_end.address, package())
    far_end.close()

    assert isinstance(outcome, kind)


def test_a_webhook_without_a_secret_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="signed"):
        Webhook(recipient("webhook", address="http://127.0.0.1:1"))
