"""What becomes of a batch of messages, in a real store; how a message is read is not looked at here."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import sha256

import pytest
from msgspec.structs import replace

from gateway.errors import StoreUnavailable
from gateway.fhir import codec
from gateway.model.delivery import ChangeKind
from gateway.model.message import Incoming, Message, MessageState
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Gap, Statement, Translation
from gateway.ports import MessageFilter
from gateway.services.translate import Limits, Translate
from tests.releasing import (
    NOON,
    World,
    a_consent,
    a_patient,
    a_subject,
    an_observation,
    recipient,
    uid,
    version,
    world,
)


class Written:
    """A pool that takes each message for what the test says it becomes, by MSH-10.

    ``when`` maps MSH-10 -> what happens while that message is translated.
    """

    def __init__(self, become: dict[str, Translation], *, ahead: bool = False) -> None:
        self.ahead = ahead
        self.when: dict[str, Callable[[], object]] = {}
        self.begun: list[str] = []
        self._become = become

    def become(self, name: str, translation: Translation) -> None:
        self._become[name] = translation

    def begin(self, messages: Sequence[Message]) -> "Work":
        self.begun += [message.control_id for message in messages]
        return Work(self, messages)

    def translate(self, message: Message) -> Translation:
        self.when.pop(message.control_id, lambda: None)()
        return self._become[message.control_id]

    def renew(self, codes: object) -> None:
        pass


class Work:
    def __init__(self, pool: Written, messages: Sequence[Message]) -> None:
        self._pool = pool
        self._messages = messages

    def result(self, meanwhile: Callable[[], None]) -> list[Translation]:
        translations = []
        for message in self._messages:
            translations.append(self._pool.translate(message))
            meanwhile()
        return translations

    def cancel(self) -> None:
        pass


def said(*bodies: dict, patient: str = uid("patient"), **changes: object) -> Translation:
    """A message that states these resources of a patient."""
    rows = [version(body, patient) for body in bodies]
    return Translation(
        tuple(
            replace(Statement(row.type, row.id, row.body, row.patient, status=row.status, date=row.date), **changes)
            for row in rows
        ),
        sent_at=NOON,
    )


def store(trial: World, *names: str, lane: int = 3) -> None:
    """Receive a message of each name."""
    trial.store.receive(
        [
            Incoming("lis", "north", name, "ORU^R01", lane, NOON, name.encode(), sha256(name.encode()).digest(),
                     MessageState.STORED, b"", positive=True)
            for name in names
        ]
    )  # fmt: skip


def role(trial: World, pool: Written, owner: str = "test", limits: Limits | None = None) -> Translate:
    return Translate(trial.store, pool, trial.planner, sites=(), clock=lambda: trial.now, owner=owner, limits=limits)


def receive(trial: World, limits: Limits | None = None, **become: Translation) -> Translate:
    """Store a message for each; return the role that translates them."""
    store(trial, *become)
    return role(trial, Written(become), limits=limits)


def states(trial: World) -> dict[str, str]:
    with trial.store.begin(write=False) as tx:
        return {each.control_id: str(each.state) for each in tx.messages.find(MessageFilter())}


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient()) as made:
        yield made


def test_a_message_that_cannot_be_stored_fails_alone(trial):
    hopeless = replace(said(an_observation()).statements[0], id="no internal id")

    receive(
        trial,
        first=said(a_patient()),
        second=Translation((hopeless,), sent_at=NOON),
        third=said(an_observation()),
    ).run()

    assert states(trial) == {"first": "translated", "second": "failed", "third": "translated"}


def test_a_result_that_was_another_patients_is_taken_back_from_who_holds_it(trial):
    trial.write(a_patient(), a_consent(), a_subject(), an_observation(), clocks={"": (1, "2026", 1)})
    trial.deliver()
    trial.now += timedelta(hours=1)
    other = uid("the other patient")
    body = codec.decode(codec.encode(an_observation())) | {"subject": {"reference": f"Patient/{other}"}}

    receive(trial, correction=said(body, patient=other, rank=1)).run()

    (package,) = trial.deliver()
    assert [(entry.type, entry.kind) for entry in package.entries] == [("Observation", ChangeKind.RETRACTED)]


def test_a_clock_that_is_set_back_holds_no_lane_up_and_the_order_of_sending_stays(trial):
    later, earlier = an_observation(status="amended"), an_observation(status="final")
    become = {
        "sent second": replace(said(a_patient(), later), sent_at=NOON),
        "sent first": replace(said(earlier), sent_at=NOON - timedelta(hours=2)),
    }
    store(trial, *become)
    pool = Written(become)
    pool.when["sent second"] = lambda: setattr(trial, "now", trial.now - timedelta(hours=1))
    assert role(trial, pool, limits=Limits(batch=1)).run() == 2

    assert set(states(trial).values()) == {"translated"}
    with trial.store.begin() as tx:
        (held,) = tx.resources.heads([later["id"]]).values()
        assert tx.lanes.claim("another", trial.now, timedelta(minutes=1), 8) == []
    assert codec.decode(held.body)["status"] == "amended"
    store(trial, "sent third")
    pool.become("sent third", said(an_observation("new")))
    assert role(trial, pool, "another").run() == 1


def test_a_role_that_is_to_end_finishes_the_batch_at_hand_and_no_more(trial):
    translate = receive(trial, Limits(batch=1), first=said(a_patient()), second=said(an_observation()))

    translate.run(lambda: "translated" in states(trial).values())

    assert states(trial) == {"first": "translated", "second": "stored"}


@pytest.fixture
def three() -> dict[str, Translation]:
    """Three messages of one patient, each with a result of its own."""
    return {name: said(a_patient(), an_observation(name)) for name in ("first", "second", "third")}


ONE_AT_A_TIME = Limits(batch=1)


def order(trial: World) -> list[str]:
    """MSH-10 of the messages in the order in which their results were written."""
    with trial.store.begin(write=False) as tx:
        by_id = {each.id: each.control_id for each in tx.messages.find(MessageFilter())}
        versions = tx.resources.of_patient(uid("patient"), every_version=True)
        return [by_id[each.message] for each in versions if each.type == "Observation"]


def test_the_next_messages_are_translated_while_the_last_are_written(trial, three):
    store(trial, *three)
    pool = Written(three, ahead=True)
    begun_by_then = []
    pool.when["first"] = lambda: begun_by_then.extend(pool.begun)

    role(trial, pool, limits=ONE_AT_A_TIME).run()

    assert begun_by_then == ["first", "second"]
    assert order(trial) == ["first", "second", "third"]


def test_what_could_not_be_written_is_not_overtaken_by_what_was_begun_after_it(trial, three):
    store(trial, *three)
    pool = Written(three, ahead=True)
    trial.store = Failing(trial.store)
    pool.when["second"] = trial.store.take_down
    translate = role(trial, pool, limits=ONE_AT_A_TIME)

    with pytest.raises(StoreUnavailable):
        translate.run()
    trial.store.up = True

    assert states(trial) == {"first": "translated", "second": "stored", "third": "stored"}
    translate.run()
    assert order(trial) == ["first", "second", "third"]


class Failing:
    """A store that cannot write while it is not ``up``."""

    def __init__(self, store):
        self.up = True
        self._store = store

    def take_down(self):
        self.up = False

    def begin(self, *, write: bool = True):
        if write and not self.up:
            raise StoreUnavailable("on purpose")
        return self._store.begin(write=write)

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_lane_that_went_to_another_worker_is_left_to_it(trial, three, ahead):
    store(trial, *three)
    slow = Written(three, ahead=ahead)
    other = role(trial, Written(three), "other")

    def be_given_up_for_dead():
        trial.now += timedelta(minutes=5)
        other.run()

    slow.when["second"] = be_given_up_for_dead
    role(trial, slow, limits=ONE_AT_A_TIME).run()

    assert set(states(trial).values()) == {"translated"}
    assert order(trial) == ["first", "second", "third"], "each once, as the one who holds the lane wrote them"


def test_a_worker_that_takes_long_keeps_its_lanes(trial, three):
    store(trial, *three)
    slow = Written(three)
    other = Written(three)

    def take_a_while():
        trial.now += timedelta(seconds=20)

    def see_whether_the_lane_is_free():
        trial.now += timedelta(seconds=20)
        role(trial, other, "other").run()

    slow.when = {"first": take_a_while, "second": see_whether_the_lane_is_free}
    role(trial, slow).run()

    assert other.begun == []
    assert set(states(trial).values()) == {"translated"}


def test_lanes_are_free_once_nothing_waits_in_them(trial, three):
    store(trial, "first")
    role(trial, Written(three), "one").run()
    store(trial, "second")

    assert role(trial, Written(three), "two").run() == 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.1, ["first", "third", "fourth", "second"]), (2, ["first", "second", "third", "fourth"])],
)
def test_a_lane_does_not_wait_long_for_a_busy_one_to_run_dry(trial, three, seconds, expected):
    three["fourth"] = said(an_observation("fourth"))
    store(trial, "first", lane=3)
    store(trial, "second", lane=4)
    store(trial, "third", "fourth", lane=3)
    pool = Written(three)

    def take_a_while():
        trial.now += timedelta(seconds=seconds)

    pool.when["first"] = take_a_while
    role(trial, pool, limits=Limits(batch=1, lanes=1)).run()

    assert order(trial) == expected


def test_a_message_is_read_again_by_the_code_map_that_changed_meanwhile(trial, three):
    gap = Gap("code", "OBX-3", "VES", system="L")
    three["first"] = replace(three["first"], gaps=(gap,))
    store(trial, "first")
    pool = Written(three)

    def a_person_maps_it():
        entry = CodeMapEntry("VES", system="L", codings=(("http://loinc.org", "30341-2", "ESR"),))
        with trial.store.begin() as tx:
            tx.codes.add("north", entry, author="ada", reason="", at=trial.now)
        three["first"] = said(a_patient(), an_observation("first"))

    pool.when["first"] = a_person_maps_it
    role(trial, pool).run()

    assert states(trial) == {"first": "translated"}
    assert pool.begun == ["first", "first"]
    with trial.store.begin(write=False) as tx:
        assert tx.worklist.gaps() == []
