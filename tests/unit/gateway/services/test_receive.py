"""Receiving: nothing positive before the commit, one commit for all who wait, the same answer to a repeat."""

import threading
from dataclasses import replace

import pytest

from gateway.model.message import MessageState
from gateway.model.site import Feed
from gateway.services.receive import Intake
from tests.contracts.waiting import PATIENCE, wait_for
from tests.listening import BrokenStore, clock, codes, message, rows, settle

FEED = Feed("lis", "north", kind="http")
TRANSLATED = replace(FEED, acknowledge="translated", translated_within=PATIENCE)


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def intake(store):
    intake = Intake(store, clock)
    intake.start()
    yield intake
    intake.stop()


class WatchedStore:
    """Counts the commits and holds the first until told to go on."""

    def __init__(self, store):
        self._store = store
        self.batches = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def receive(self, batch):
        self.batches.append(len(batch))
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return self._store.receive(batch)

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_a_message_is_stored_before_it_is_answered(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock)
    intake.start()
    future = intake.receive(FEED, message())

    assert watched.begun.wait(PATIENCE)
    assert not future.done()
    watched.go_on.set()
    answer = future.result(PATIENCE)
    intake.stop()

    assert codes(answer.acknowledgments) == ["AA"]
    assert answer.accepted
    assert rows(store)[0].id == answer.message
    assert rows(store)[0].acknowledgment == answer.acknowledgments[0]


def test_whoever_waits_during_a_commit_shares_the_next_one(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock)
    intake.start()
    first = intake.receive(FEED, message("0"))
    assert watched.begun.wait(PATIENCE)
    others = [intake.receive(FEED, message(str(n))) for n in range(1, 20)]
    watched.go_on.set()

    answers = [future.result(PATIENCE) for future in [first, *others]]
    intake.stop()

    assert watched.batches == [1, 19]
    assert [answer.message for answer in answers] == sorted(answer.message for answer in answers)


def test_a_repeat_waits_for_the_first_and_gets_the_same_answer(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock)
    intake.start()
    first = intake.receive(FEED, message("7"))
    assert watched.begun.wait(PATIENCE)
    again = intake.receive(FEED, message("7", sent="20260301080500"))
    assert not again.done()
    watched.go_on.set()

    assert first.result(PATIENCE).acknowledgments == again.result(PATIENCE).acknowledgments
    intake.stop()
    assert len(rows(store)) == 1


def test_the_same_control_id_with_other_content_is_answered_ae_and_held(store, intake):
    intake.receive(FEED, message("7")).result(PATIENCE)
    answer = intake.receive(FEED, message("7", text="9.9")).result(PATIENCE)

    assert codes(answer.acknowledgments) == ["AE"]
    assert b"205^" in answer.acknowledgments[0]
    assert not answer.accepted
    assert [row.state for row in rows(store)] == [MessageState.STORED, MessageState.CONFLICT]
    with store.begin() as transaction:
        assert [hold.kind for hold in transaction.worklist.holds()] == ["conflict"]


def test_after_a_negative_answer_the_message_is_taken_anew(store, intake):
    closed = replace(FEED, processing_ids=("P",))
    opened = replace(FEED, processing_ids=("P", "T"))

    assert codes(intake.receive(closed, message("7", processing_id="T")).result(PATIENCE).acknowledgments) == ["AR"]
    assert codes(intake.receive(opened, message("7", processing_id="T")).result(PATIENCE).acknowledgments) == ["AA"]


def test_quarantined_bytes_are_kept_every_time(store, intake):
    for _ in range(2):
        assert codes(intake.receive(FEED, b"garbage").result(PATIENCE).acknowledgments) == ["AR"]

    assert [(row.state, row.raw) for row in rows(store)] == [(MessageState.QUARANTINED, b"garbage")] * 2


@pytest.mark.parametrize(
    ("policy", "ask", "expected"),
    [("close", "", []), ("reject", "", ["AR"]), ("reject", "AL|NE", ["CE"]), ("reject", "NE|NE", [])],
)
def test_a_store_that_cannot_commit_is_never_answered_positively(store, policy, ask, expected):
    broken = BrokenStore(store)
    intake = Intake(broken, clock)
    intake.start()
    feed = replace(FEED, on_store_failure=policy)

    answer = intake.receive(feed, message(ask=ask)).result(PATIENCE)
    broken.broken = False
    after = intake.receive(feed, message("2")).result(PATIENCE)
    intake.stop()

    assert (codes(answer.acknowledgments), answer.closes, answer.accepted) == (expected, policy == "close", False)
    assert codes(after.acknowledgments) == ["AA"]


def test_an_error_nobody_foresaw_does_not_end_the_writer(store):
    class Bug(BrokenStore):
        def receive(self, batch):
            if self.broken:
                raise ZeroDivisionError
            return self._store.receive(batch)

    bug = Bug(store)
    intake = Intake(bug, clock)
    intake.start()

    assert intake.receive(FEED, message("1")).result(PATIENCE).closes
    bug.broken = False
    assert intake.receive(FEED, message("1")).result(PATIENCE).accepted
    intake.stop()


def test_a_message_we_fail_to_judge_is_kept_and_refused_and_the_next_is_taken(store):
    def handles(kind):
        if kind.startswith("ADT"):
            raise RuntimeError("a defect")
        return True

    intake = Intake(store, clock, handles=handles)
    intake.start()
    bad = intake.receive(FEED, message("1", type="ADT^A01")).result(PATIENCE)
    good = intake.receive(FEED, message("2")).result(PATIENCE)
    intake.stop()

    assert (bad.code, bad.accepted, good.code) == ("AR", False, "AA")
    assert [row.state for row in rows(store)] == [MessageState.QUARANTINED, MessageState.STORED]


def test_translation_is_told_when_something_to_translate_was_stored(store):
    told = []
    intake = Intake(store, clock, handles=lambda type: type == "ORU^R01", on_stored=lambda: told.append(1))
    intake.start()
    intake.receive(FEED, message("1", type="MDM^T02")).result(PATIENCE)
    assert not told
    intake.receive(FEED, message("2")).result(PATIENCE)
    intake.stop()

    assert told


@pytest.mark.parametrize("ask", ["", "NE|AL"])
def test_a_feed_can_wait_for_the_translation(store, intake, ask):
    future = intake.receive(TRANSLATED, message(ask=ask))
    assert not future.done()
    for id in settle(store, MessageState.TRANSLATED):
        intake.settled(id)

    assert codes(future.result(PATIENCE).acknowledgments) == ["AA"]


def test_a_translation_that_fails_is_answered_ae_with_its_place_and_a_resend_is_translated_anew(store, intake):
    future = intake.receive(TRANSLATED, message("7"))
    settle(store, MessageState.FAILED, place="OBX[2]-5", reason="not a number", code="102")
    answer = future.result(PATIENCE)
    assert codes(answer.acknowledgments) == ["AE"]
    assert b"ERR||OBX^2^5^1|102^" in answer.acknowledgments[0]
    assert b"not a number" in answer.acknowledgments[0]
    assert [row.acknowledgment for row in rows(store)] == list(answer.acknowledgments)

    again = intake.receive(TRANSLATED, message("7"))
    settle(store, MessageState.TRANSLATED)
    assert codes(again.result(PATIENCE).acknowledgments) == ["AA"]
    assert [row.acknowledgment for row in rows(store)] == list(again.result().acknowledgments)


def test_a_translation_that_does_not_come_in_time_is_answered_ae(store, intake):
    impatient = replace(TRANSLATED, translated_within=0.05)
    answer = intake.receive(impatient, message()).result(PATIENCE)

    assert codes(answer.acknowledgments) == ["AE"]
    assert b"207^" in answer.acknowledgments[0]


def test_in_the_enhanced_mode_the_accept_acknowledgment_comes_first(store, intake):
    got = []
    intake.submit(TRANSLATED, message(ask="AL|AL"), got.extend, "token")
    settle(store, MessageState.FAILED, reason="no such code")
    done = intake.receive(FEED, message("2"))
    done.result(PATIENCE)
    wait_for(lambda: len(got) == 2)

    assert [codes(answer.acknowledgments) for _, answer in got] == [["CA"], ["AE"]]
    assert [answer.follows for _, answer in got] == [True, False]


def test_stopping_commits_and_answers_what_waits(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock)
    intake.start()
    futures = [intake.receive(FEED, message(str(n))) for n in range(5)]
    assert watched.begun.wait(PATIENCE)
    watched.go_on.set()
    intake.stop()

    assert all(future.result(0).accepted for future in futures)
    assert intake.receive(FEED, message("late")).result(0).closes


def test_a_full_intake_says_so_until_it_has_committed(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock, max_waiting=3)
    intake.start()
    futures = [intake.receive(FEED, message("0"))]
    assert watched.begun.wait(PATIENCE)
    futures += [intake.receive(FEED, message(str(n))) for n in range(1, 4)]

    assert intake.full
    watched.go_on.set()
    for future in futures:
        future.result(PATIENCE)
    assert not intake.full
    intake.stop()


def test_a_caller_that_gave_up_costs_nobody_else_an_answer(store):
    watched = WatchedStore(store)
    intake = Intake(watched, clock)
    intake.start()
    given_up = intake.receive(FEED, message("1"))
    assert watched.begun.wait(PATIENCE)
    given_up.cancel()
    watched.go_on.set()

    assert codes(intake.receive(FEED, message("2")).result(PATIENCE).acknowledgments) == ["AA"]
    intake.stop()


def test_a_caller_that_fails_costs_nobody_else_an_answer(intake):
    intake.submit(FEED, message("1"), lambda answers: 1 / 0, None)

    assert codes(intake.receive(FEED, message("2")).result(PATIENCE).acknowledgments) == ["AA"]
