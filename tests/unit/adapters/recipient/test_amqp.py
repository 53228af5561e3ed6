from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from adapters.recipient.amqp import Amqp
from gateway.broker.embedded import EmbeddedBroker
from gateway.errors import BrokerUnavailable, ConfigurationError
from gateway.fhir import codec
from gateway.model.delivery import Accepted, ChangeKind, Deferred, Unknown
from tests.contracts.packages import observation, package, patient, recipient, released


@pytest.fixture
def broker():
    made = EmbeddedBroker()
    made.declare([], {"edc": 2000})
    return made


class Kept(list):
    """An outbox in memory."""

    def keep(self, events):
        self.extend(one for _, one in events if one not in self)

    def forget(self, events):
        self[:] = [one for one in self if one not in events]


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def adapter(broker, kept):
    return Amqp(recipient("amqp"), broker, kept)


def test_each_entry_is_an_event_under_its_key(adapter, broker, kept):
    gone = released({**observation("o2"), "status": "entered-in-error"}, ChangeKind.RETRACTED, 2)

    outcome = adapter.deliver(package(released(patient()), released(observation()), gone))

    events = broker.take("edc")
    assert isinstance(outcome, Accepted)
    assert [event.routing_key for event in events] == [
        "edc.mld-01.Patient.created",
        "edc.mld-01.Observation.created",
        "edc.mld-01.Observation.retracted",
    ]
    assert codec.decode(events[1].body) == observation()
    assert kept == events


@pytest.mark.parametrize("retraction", ["mark", "delete"])
def test_of_what_can_only_be_gone_an_event_says_which_it_is(broker, kept, retraction):
    adapter = Amqp(replace(recipient("amqp"), retraction=retraction), broker, kept)
    gone = structs.replace(released(observation(), ChangeKind.RETRACTED), text=b"{}")

    adapter.deliver(package(gone))

    (event,) = broker.take("edc")
    body = codec.decode(event.body)
    assert event.routing_key.endswith(".Observation.retracted")
    assert (body["resourceType"], body["type"]) == ("Bundle", "transaction")
    assert body["entry"] == [{"request": {"method": "DELETE", "url": gone.reference}}]


def test_the_message_id_is_the_same_when_the_same_is_published_again(adapter, broker):
    adapter.deliver(package())
    first = [event.message_id for event in broker.take("edc")]
    again = released(patient(), ChangeKind.UPDATED), released(observation(), ChangeKind.UPDATED)
    adapter.deliver(package(*again, repeat=True))

    assert [event.message_id for event in broker.take("edc")] == first
    assert len(set(first)) == 2


def test_what_is_released_again_after_a_retraction_is_not_taken_for_a_repeat(adapter, broker):
    gone = released({**observation(), "status": "entered-in-error"}, ChangeKind.RETRACTED)
    adapter.deliver(package(released(observation()), delivery_id="7-1"))
    adapter.deliver(package(gone, delivery_id="7-2"))
    adapter.deliver(package(released(observation()), delivery_id="7-3"))

    events = broker.take("edc")
    assert len({event.message_id for event in events}) == 3
    assert [event.headers["sequence"] for event in events] == ["1", "2", "3"]


def test_another_version_or_another_content_has_another_message_id(adapter, broker):
    adapter.deliver(package(released(observation())))
    adapter.deliver(package(released(observation(), ChangeKind.UPDATED, 2)))
    adapter.deliver(package(released(observation(value="7"))))

    assert len({event.message_id for event in broker.take("edc")}) == 3


def test_keys_and_headers_say_nothing_about_a_person(adapter, broker):
    adapter.deliver(package(released(patient("S-SECRET"))))

    (event,) = broker.take("edc")
    assert "S-SECRET" not in f"{event.routing_key} {event.headers} {event.message_id}"
    assert set(event.headers) == {"study", "version", "change", "sequence"}


def test_events_are_kept_before_they_are_published_so_that_no_receipt_comes_too_early(broker, kept):
    class Quick(EmbeddedBroker):
        def publish(self, events):
            assert kept == events
            kept.forget(events)  # the receipts
            return [None] * len(events)

    assert isinstance(Amqp(recipient("amqp"), Quick(), kept).deliver(package()), Accepted)
    assert not kept


def test_a_full_queue_defers_and_keeps_nothing(adapter, broker, kept):
    for _ in range(20):
        adapter.deliver(package(released(patient())))
    kept.clear()

    outcome = adapter.deliver(package(released(patient())))

    assert isinstance(outcome, Deferred)
    assert not outcome.breaker
    assert not kept


def test_a_package_of_which_a_part_went_is_left_open(adapter, broker, kept):
    large = [released(observation(f"o{number}")) for number in range(20)]

    outcome = adapter.deliver(package(*large))

    assert isinstance(outcome, Unknown)
    assert 0 < len(kept) < 20


def test_packages_that_go_together_each_have_their_own_outcome(adapter, broker, kept):
    large = [released(observation(f"o{number}")) for number in range(20)]
    sent = [package(delivery_id="7-1"), package(*large, delivery_id="8-1"), package(delivery_id="9-1")]

    outcomes = adapter.deliver_many(sent)

    assert [type(one) for one in outcomes] == [Accepted, Unknown, Deferred]
    events = broker.take("edc")
    assert kept == events
    assert [event.headers["sequence"] for event in events[:2]] == ["1", "1"]


def test_of_many_events_some_hundreds_are_kept_at_a_time_and_all_arrive(kept):
    class Counting(Kept):
        sizes = ()

        def keep(self, events):
            self.sizes += (len(events),)

    broker = EmbeddedBroker()
    broker.declare([], {"edc": 10_000_000})
    outbox = Counting()
    large = [released(observation(f"o{number}")) for number in range(300)]

    outcomes = Amqp(recipient("amqp"), broker, outbox).deliver_many(
        [package(*large, delivery_id=f"{number}-1") for number in range(4)]
    )

    assert [type(one) for one in outcomes] == [Accepted] * 4
    assert outbox.sizes == (300,) * 4
    assert len(broker.take("edc", 9999)) == 1200


def test_a_broker_that_is_away_leaves_it_open(kept):
    class Away(EmbeddedBroker):
        def publish(self, events):
            return [BrokerUnavailable("no connection")] * len(events)

    outcome = Amqp(recipient("amqp"), Away(), kept).deliver(package())

    assert isinstance(outcome, Unknown)


def test_a_recipient_without_a_queue_is_deferred(kept):
    outcome = Amqp(recipient("amqp"), EmbeddedBroker(), kept).deliver(package())

    assert isinstance(outcome, Deferred)


def test_identified_data_never_goes_into_a_queue(broker, kept):
    with pytest.raises(ConfigurationError, match="pseudonymous"):
        Amqp(replace(recipient("amqp"), identity="identified"), broker, kept)
