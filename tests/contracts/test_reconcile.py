"""From raw message to receipt, in a real database of each kind: what is lost or doubled is named."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.model.delivery import BACKFILL, ChangeKind, DeliveryState, ManifestEntry
from gateway.model.message import Became, MessageState
from gateway.ports import AuditEvent, Event, Period
from gateway.services.reconcile import Unit, reconcile
from gateway.services.relay import EXPIRED
from gateway.services.terms import FILE
from tests.contracts.stores import DAY, MINUTE, NOW, SECOND, VIEW, attempt, incoming, uid, version
from tests.contracts.test_store_seals import doctor

UNIT = Unit({"lab": timedelta(days=30)}, frozenset({"registry"}))
PATIENT = uid(900)


def reconciled(store, **period):
    return reconcile(store, UNIT, Period(**period))


def lost(store, **period):
    return reconciled(store, **period).lost


def doubled(store, **period):
    return reconciled(store, **period).doubled


def deliver(store, *attempts, upto=10, **changed):
    """Make attempts at the patient's delivery, each with its own delivery id, one minute after the other."""
    for number, one in enumerate(attempts, 1):
        with store.begin() as tx:
            tx.deliveries.plan({(VIEW, PATIENT): upto + number}, NOW)
            cursor = tx.deliveries.of_view(VIEW, PATIENT)
            claimed = tx.deliveries.claim(cursor.id, "one", NOW + number * MINUTE, MINUTE)
            at = NOW + number * MINUTE
            done = replace(claimed, state=DeliveryState.IDLE, sent=upto + number, due_at=None, lease_until=None)
            made = replace(one, delivery=cursor.id, number=number, started_at=at, settled_at=at + SECOND, **changed)
            tx.deliveries.save(replace(done, number=number + 1), made, "one")


def carried(number, of=1, outcome="accepted", kind=ChangeKind.CREATED, type="Observation", **changed):
    return attempt(1, outcome, manifest=(ManifestEntry(type, uid(number), of, kind),), **changed)


def test_what_came_in_is_counted_by_feed_and_day(store):
    refused = {"state": MessageState.REFUSED, "positive": False}
    store.receive([incoming("M1"), incoming("M2"), incoming("M3", **refused), incoming("M4", received_at=NOW + DAY)])
    store.receive([incoming("M1"), incoming("M5", feed="adt"), incoming("M2", raw=b"other", digest=b"other")])
    with store.begin() as tx:
        tx.messages.settle([Became(1, MessageState.TRANSLATED), Became(2, MessageState.FAILED, "OBX-5", "no")], NOW)
        tx.resources.append([version(1), version(2), version(3)])

    first, second, third = reconciled(store).feeds

    assert (first.feed, first.received, first.waiting) == ("adt", 1, 1)
    assert (second.feed, second.day, second.received) == ("lab", NOW.date(), 4)
    assert (second.translated, second.failed, second.refused, second.held, second.versions) == (1, 1, 1, 1, 3)
    assert (third.day, third.waiting) == ((NOW + DAY).date(), 1)
    assert [line.day for line in reconciled(store, since=NOW + MINUTE).feeds] == [third.day]
    assert lost(store) == doubled(store) == []


def test_what_went_out_is_counted_by_view(store):
    deliver(
        store,
        carried(1),
        carried(1, 2, kind=ChangeKind.UPDATED),
        carried(2, outcome="unknown"),
        carried(1, 2, kind=ChangeKind.RETRACTED),
    )
    with store.begin() as tx:
        tx.audit.write([AuditEvent(NOW, "withheld", "edc", "delivery/1", "consent: 3, held: 1")])
        tx.audit.write([AuditEvent(NOW, "withheld", "edc", "delivery/1", "consent: 1")])
        tx.deliveries.plan({(VIEW, PATIENT): 99}, NOW)

    (line,) = reconciled(store).views

    assert (line.recipient, line.study, line.attempts) == ("edc", "mld-01", 4)
    assert (line.delivered, line.retracted, line.uncertain) == (2, 1, 1)
    assert dict(line.withheld) == {"consent": 4, "held": 1}
    assert [record["withheld"] for record in reconciled(store).records() if record["kind"] == "view"] == [line.withheld]
    assert (line.waiting, line.dead) == (1, 0)
    assert lost(store) == doubled(store) == []


def test_a_message_answered_positively_that_nobody_will_translate_is_lost(database, store):
    store.receive([incoming("M1"), incoming("M2")])
    doctor(database, "UPDATE messages SET state = 'refused' WHERE id = 2")

    assert lost(store) == ["message 2 was answered positively and is refused: nobody will translate it"]
    assert lost(store, since=NOW + DAY) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deliveries SET planned = 50",
        "UPDATE deliveries SET state = 'due', due_at = NULL",
        "UPDATE deliveries SET state = 'sending', lease_until = NULL",
        "UPDATE deliveries SET state = 'forgotten'",
    ],
)
def test_a_delivery_that_nothing_will_wake_is_lost(database, store, statement):
    deliver(store, carried(1))
    assert lost(store) == []

    doctor(database, statement)

    assert lost(store) == ["delivery 1 to edc owes something and nothing will wake it"]


def test_an_event_given_up_before_its_receipt_is_lost(store):
    with store.begin() as tx:
        tx.audit.write([AuditEvent(NOW, EXPIRED, "registry", "recipient/registry", "3 events")])

    assert lost(store)[0].startswith("3 events to registry were given up without a receipt at")


def test_an_event_waits_for_its_receipt_and_is_lost_when_nobody_publishes_it_again(store):
    with store.begin() as tx:
        tx.outbox.add("registry", 1, Event("k", b"", "1-1-a"), NOW)
    assert lost(store) == []

    with store.begin() as tx:
        tx.outbox.add("edc", 1, Event("k", b"", "1-1-a"), NOW)
    assert lost(store) == ["1 events wait for receipts of edc, which is no amqp recipient"]


def test_a_version_accepted_under_two_delivery_ids_is_doubled(store):
    deliver(store, carried(1), carried(1))

    assert doubled(store) == [f"Observation/{uid(1)} version 1 was accepted under delivery ids 1-1 and 1-2"]


@pytest.mark.parametrize(
    ("action", "subject"), [("delivery-replayed", "delivery/1"), (FILE, "recipient/edc")], ids=["replay", "file"]
)
def test_what_was_asked_for_again_is_not_doubled(store, action, subject):
    deliver(store, carried(1), carried(1))
    with store.begin() as tx:
        tx.audit.write([AuditEvent(NOW + 90 * SECOND, action, "anna", subject)])

    assert doubled(store) == []


@pytest.mark.parametrize(
    "between",
    [
        carried(1, 2, kind=ChangeKind.UPDATED),
        carried(1, kind=ChangeKind.RETRACTED),
        carried(1, outcome="unknown"),
    ],
    ids=["another version", "a retraction", "nobody knows what"],
)
def test_what_something_else_lies_between_is_not_doubled(store, between):
    deliver(store, carried(1), between, carried(1))

    assert doubled(store) == []


def test_a_refused_attempt_delivers_nothing(store):
    deliver(store, carried(1, outcome="refused"), carried(1, outcome="deferred"), carried(1))

    assert doubled(store) == []
    assert reconciled(store).views[0].delivered == 1


def test_a_patient_is_told_again_when_the_subject_is_another(store):
    again = [carried(7, type="Patient", grounds=f"file a, on-study, ResearchSubject/x v{number}") for number in (1, 2)]
    deliver(store, *again)

    assert doubled(store) == []


def test_a_message_kept_twice_within_the_window_is_doubled(database, store):
    store.receive([incoming("M1"), incoming("M2")])
    doctor(database, "UPDATE messages SET control_id = 'M1', digest = (SELECT digest FROM messages WHERE id = 1)")

    assert doubled(store) == ["messages 1 and 2 are the same, both kept"]


def test_a_message_kept_again_after_the_window_is_not_doubled(store):
    store.receive([incoming("M1")])
    store.receive([incoming("M1", received_at=NOW + 31 * DAY)])

    assert doubled(store) == []
    assert sum(line.received for line in reconciled(store).feeds) == 2


def test_a_backfill_is_no_replay(store):
    deliver(store, carried(1))
    with store.begin() as tx:
        tx.deliveries.replay(1, NOW, from_change=BACKFILL)

    assert (lost(store), reconciled(store).views[0].waiting) == ([], 1)
