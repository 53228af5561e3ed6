"""What ``Store.receive`` promises, on SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gateway.model.message import Intake, MessageState
from gateway.ports import MessageFilter
from tests.contracts.stores import DAY, NOW, SECOND, incoming


def everything(store):
    with store.begin(write=False) as tx:
        return [tx.messages.get(message.id) for message in tx.messages.find(MessageFilter())]


def test_a_new_message_is_kept_byte_for_byte_and_answered(store):
    message = incoming("M1", raw=b"MSH|\x00\xff bytes of any kind\r", reason="because")
    stored = store.receive([message])

    assert [(one.intake, one.acknowledgment) for one in stored] == [(Intake.NEW, b"MSA|AA|M1")]
    kept = everything(store)[0]
    assert (kept.id, kept.raw, kept.acknowledgment) == (stored[0].id, message.raw, b"MSA|AA|M1")
    assert (kept.feed, kept.site, kept.control_id, kept.message_type) == ("lab", "milan", "M1", "ORU^R01")
    assert (kept.lane, kept.received_at, kept.state, kept.reason) == (7, NOW, MessageState.STORED, "because")


def test_ids_ascend_in_order_of_receipt(store):
    ids = [one.id for _ in range(3) for one in store.receive([incoming(f"M{_}{n}") for n in range(5)])]
    assert ids == sorted(set(ids))


def test_an_empty_batch_stores_nothing(store):
    assert store.receive([]) == []


def test_a_repeat_gets_the_stored_answer_and_is_not_stored_again(store):
    first = store.receive([incoming("M1", acknowledgment=b"the first answer")])[0]
    again = store.receive([incoming("M1", acknowledgment=b"another", received_at=NOW + DAY)])[0]

    assert (again.id, again.intake, again.acknowledgment) == (first.id, Intake.REPEAT, b"the first answer")
    assert len(everything(store)) == 1


def test_a_repeat_in_the_same_batch_gets_the_first_ones_answer(store):
    first, second = store.receive([incoming("M1"), incoming("M1", acknowledgment=b"other")])
    assert (second.id, second.intake, second.acknowledgment) == (first.id, Intake.REPEAT, first.acknowledgment)


def test_the_same_control_id_of_another_feed_is_another_message(store):
    stored = store.receive([incoming("M1"), incoming("M1", feed="adt")])
    assert [one.intake for one in stored] == [Intake.NEW, Intake.NEW]


def test_after_the_window_the_same_message_is_new(store):
    store.receive([incoming("M1", repeat_window_days=30)])
    inside, outside = NOW + 30 * DAY, NOW + 30 * DAY + SECOND
    assert store.receive([incoming("M1", received_at=inside)])[0].intake is Intake.REPEAT
    assert store.receive([incoming("M1", received_at=outside)])[0].intake is Intake.NEW


def test_other_content_under_the_same_control_id_is_held_as_a_conflict(store):
    store.receive([incoming("M1")])
    other = store.receive([incoming("M1", raw=b"MSH|other\r")])[0]

    assert (other.intake, other.acknowledgment) == (Intake.CONFLICT, b"MSA|AE|M1")
    kept = everything(store)[0]
    assert (kept.id, kept.state, kept.raw) == (other.id, MessageState.CONFLICT, b"MSH|other\r")
    assert kept.acknowledgment == b"MSA|AE|M1"
    with store.begin(write=False) as tx:
        assert [(hold.kind, hold.message, hold.opened_at) for hold in tx.worklist.holds()] == [
            ("conflict", other.id, NOW)
        ]


def test_a_conflict_sent_again_and_again_is_stored_and_held_once(store):
    store.receive([incoming("M1")])
    conflict = incoming("M1", raw=b"MSH|other\r")
    answers = [*store.receive([conflict, conflict]), *store.receive([conflict])]

    assert {(one.id, one.intake) for one in answers} == {(answers[0].id, Intake.CONFLICT)}
    assert len(everything(store)) == 2
    with store.begin(write=False) as tx:
        assert len(tx.worklist.holds()) == 1


def test_after_a_conflict_the_first_content_is_still_a_repeat(store):
    first = store.receive([incoming("M1"), incoming("M1", raw=b"MSH|other\r")])[0]
    assert store.receive([incoming("M1")])[0].id == first.id


def test_after_a_negative_answer_the_same_message_is_taken_anew(store):
    refused = incoming("M1", state=MessageState.REFUSED, positive=False, acknowledgment=b"MSA|AR|M1")
    answers = store.receive([refused, refused, incoming("M1")])
    assert [one.intake for one in answers] == [Intake.NEW] * 3
    assert len({one.id for one in answers}) == 3
    assert store.receive([incoming("M1")])[0].id == answers[2].id


def test_messages_without_a_control_id_are_never_repeats(store):
    quarantined = incoming("", state=MessageState.QUARANTINED, raw=b"garbage")
    assert [one.intake for one in store.receive([quarantined, quarantined])] == [Intake.NEW, Intake.NEW]


@pytest.mark.parametrize("control_id", ["M\x001", "M\udcff", "x" * 5000, "é" * 400])
def test_a_hostile_control_id_is_stored_and_known_again(store, control_id):
    first = store.receive([incoming(control_id, raw=b"MSH|a\r")])[0]
    assert store.receive([incoming(control_id, raw=b"MSH|a\r")])[0].id == first.id
    with store.begin(write=False) as tx:
        assert [one.id for one in tx.messages.find(MessageFilter(control_id=control_id))] == [first.id]


def test_of_equal_messages_received_at_once_one_is_stored(database):
    stores = [database.open()] * 4 if database.is_sqlite else [database.open() for _ in range(4)]
    together = threading.Barrier(len(stores))

    def receive(store):
        together.wait()
        return [store.receive([incoming(f"M{n}")])[0] for n in range(20)]

    with ThreadPoolExecutor(len(stores)) as pool:
        answers = list(pool.map(receive, stores))

    for same in zip(*answers, strict=True):
        assert len({one.id for one in same}) == 1
        assert [one.intake for one in same].count(Intake.NEW) == 1


def test_batches_that_share_control_ids_in_opposite_order_do_not_block_each_other(database):
    stores = [database.open()] * 2 if database.is_sqlite else [database.open() for _ in range(2)]
    together = threading.Barrier(2)

    def receive(place):
        together.wait()
        names = [f"M{n}" for n in range(50)]
        return [store.id for store in stores[place].receive([incoming(name) for name in names[:: 1 - 2 * place]])]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(receive, range(2))
    assert one == other[::-1]


def test_what_was_answered_survives_a_restart(database):
    answered = database.open().receive([incoming("M1"), incoming("M2")])
    store = database.again()
    assert [one.id for one in everything(store)][::-1] == [one.id for one in answered]
    after = store.receive([incoming("M1"), incoming("M3")])
    assert after[0].id == answered[0].id
    assert after[1].id > answered[1].id


def test_a_batch_that_cannot_be_stored_leaves_nothing(store):
    wrong = replace(incoming("M2"), received_at=NOW.replace(tzinfo=None))
    with pytest.raises((TypeError, ValueError)):
        store.receive([incoming("M1"), wrong])
    assert everything(store) == []
    assert store.receive([incoming("M1")])[0].intake is Intake.NEW
