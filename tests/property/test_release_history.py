"""Any history of results, consents and withdrawals, sent to each kind of recipient through good and bad connections."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.model.delivery import ChangeKind, DeliveryState
from gateway.model.names import UCUM
from gateway.release.decision import Let
from gateway.release.release import release
from gateway.services.subjects import subjects_of
from tests.releasing import World, a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world

PATIENT = uid("patient")
INTERNAL = {PATIENT, a_subject()["id"], a_consent()["id"]}

FILES = {
    "fhir_server": recipient(),
    "webhook": recipient(kind="webhook", delivery="every-version"),
    "amqp": recipient(kind="amqp", delivery="every-version", batch=3),
}

results = st.tuples(
    st.just("result"),
    st.sampled_from("abc"),
    st.sampled_from(["2026-02-10", "2026-03-05", "2026-03-12"]),
    st.integers(90, 92),
    st.sampled_from(["preliminary", "final", "final", "corrected", "cancelled", "entered-in-error"]),
)
statuses = st.tuples(
    st.just("status"), st.sampled_from(["on-study", "on-study", "follow-up", "withdrawn", "not-registered"])
)
consents = st.tuples(
    st.just("consent"),
    st.sampled_from(["active", "active", "inactive", "entered-in-error"]),
    st.sampled_from(["2026-02-01T10:00:00+01:00", "2026-03-01T10:00:00+01:00", "2026-03-08T10:00:00+01:00"]),
)
names = st.tuples(
    st.just("name"), st.sampled_from(["Rossetti", "Bianchi"]), st.sampled_from(["2019-03-14", "2018-07-09"])
)
attempts = st.tuples(st.just("attempt"), st.sampled_from(["accepted", "accepted", "unknown", "lost"]))
histories = st.lists(st.one_of(results, results, statuses, consents, names, attempts, attempts), max_size=14)


PERSONAL = ("Rossetti", "Bianchi", "Gaia", "MRN-4711", "Emoglobina", "03-14", "07-09")


class Receiver:
    """A trial system that keeps what it is sent."""

    def __init__(self) -> None:
        self.holds = {}

    def take(self, package):
        for entry in package.entries:
            if entry.kind is ChangeKind.RETRACTED:
                self.holds.pop(entry.resource, None)
            else:
                self.holds[entry.resource] = codec.decode(entry.text)


def play(trial: World, step, receiver: Receiver) -> None:
    if step[0] == "result":
        _, name, day, value, status = step
        quantity = {"value": value, "unit": "g/L", "system": UCUM, "code": "g/L"}
        when = f"{day}T08:30:00+01:00"
        trial.write(an_observation(name, valueQuantity=quantity, effectiveDateTime=when, status=status))
    elif step[0] == "status":
        trial.write(a_subject(status=step[1]))
    elif step[0] == "consent":
        trial.write(a_consent(status=step[1], dateTime=step[2]))
    elif step[0] == "name":
        trial.write(a_patient(name=[{"family": step[1]}], birthDate=step[2]))
    else:
        attempt(trial, receiver, step[1])


def attempt(trial: World, receiver: Receiver, outcome: str) -> None:
    """One attempt: ``lost`` never arrived and nobody knows, ``unknown`` arrived and nobody knows."""
    cursor = trial.cursor()
    if cursor is None or cursor.state is not DeliveryState.DUE:
        return
    subject, entitled = standing(trial)
    for package in trial.deliver(outcome="unknown" if outcome == "lost" else outcome):
        for entry in package.entries:
            look_at(entry, entitled, subject)
        if outcome != "lost":
            receiver.take(package)


def standing(trial):
    with trial.store.begin(write=False) as tx:
        subject = subjects_of(tx, PATIENT, trial.policy).subjects.get("mld")
    on_study = subject is not None and subject.status in ("on-study", "follow-up")
    return subject, on_study and any(consent.active for consent in subject.consents)


def look_at(entry, entitled, subject) -> None:
    if entry.text != b"{}":
        check(codec.decode(entry.text))
        text = entry.text.decode()
        assert not any(id in text for id in INTERNAL)
        assert not any(word in text for word in PERSONAL)
    if entry.kind is not ChangeKind.RETRACTED and not entry.shared:
        assert entitled, "sent although the patient is not a subject under active consent"


@pytest.mark.parametrize("kind", FILES)
@given(history=histories)
@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))
def test_the_recipient_ends_with_what_it_may_have_and_nothing_it_must_not(kind, history):
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), FILES[kind]) as trial:
        trial.write(a_study())
        trial.write(a_patient(), a_consent(), a_subject())
        for step in history:
            play(trial, step, receiver)
        while trial.cursor().state is DeliveryState.DUE:
            attempt(trial, receiver, "accepted")

        subject, _ = standing(trial)
        decided = decisions(trial, subject)
    if subject.status == "not-registered":
        assert not personal(receiver)
    for id, decision in decided.items():
        error = isinstance(decision, Let) and decision.body.get("status") == "entered-in-error"
        if isinstance(decision, Let) and not (error and id not in receiver.holds):
            assert receiver.holds[id] == decision.body
        if not isinstance(decision, Let) and decision.rule == "before-consent":
            assert id not in receiver.holds


def decisions(trial, subject):
    rights = trial.policy.of_study("mld")[0]
    with trial.store.begin(write=False) as tx:
        heads = tx.resources.of_patient(PATIENT)
    return {head.id: release(head, rights, subject, trial.now) for head in heads}


def personal(receiver):
    return [body for body in receiver.holds.values() if body["resourceType"] != "ResearchStudy"]
