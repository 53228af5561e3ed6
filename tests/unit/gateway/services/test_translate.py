"""What becomes of a batch of messages, in a real store; how a message is read is not looked at here."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import sha256

import pytest
from msgspec.structs import replace

from gateway.fhir import codec
from gateway.model.delivery import ChangeKind
from gateway.model.message import Incoming, Message, MessageState
from gateway.model.translation import Statement, Translation
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
    """A pool that takes each message for what the test says it becomes, by MSH-10."""

    def __init__(self, become: dict[str, Callable[[], Translation]]) -> None:
        self._become = become

    def translate(self, messages: Sequence[Message]) -> list[Translation]:
        return [self._become[message.control_id]() for message in messages]

    def renew(self, codes: object) -> None:
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


def receive(trial: World, limits: Limits | None = None, **become: Translation) -> Translate:
    """Store a message for each; return the role that translates them."""
    trial.store.receive(
        [
            Incoming("lis", "north", name, "ORU^R01", 3, NOON, name.encode(), sha256(name.encode()).digest(),
                     MessageState.STORED, b"", positive=True)
            for name in become
        ]
    )  # fmt: skip
    pool = Written({name: lambda one=one: one for name, one in become.items()})
    return Translate(trial.store, pool, trial.planner, sites=(), clock=lambda: trial.now, owner="test", limits=limits)


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


def test_a_role_that_is_to_end_finishes_the_batch_at_hand_and_no_more(trial):
    role = receive(trial, Limits(batch=1), first=said(a_patient()), second=said(an_observation()))

    role.run(lambda: "translated" in states(trial).values())

    assert states(trial) == {"first": "translated", "second": "stored"}
