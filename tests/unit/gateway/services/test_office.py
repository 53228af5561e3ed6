"""What a trial office wrote stands against what feeds say later; an end is heard, the rest waits for a person."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.fhir import codec
from gateway.model.message import Message, MessageState
from gateway.model.translation import Statement, Translation
from gateway.services.apply import Batch
from gateway.services.prepare import StudyResources, prepare, study_resource_id
from tests.releasing import KEYS, NOON, a_consent, a_subject, recipient, uid, version, world
from tests.writing import Desk, enrolled, office_file

SUBJECT = uid(f"subject mld {uid('patient')}")
CONSENT = uid(f"consent mld {uid('patient')}")


@pytest.fixture
def here(tmp_path):
    with world(tmp_path, office_file(), recipient("edc")) as made:
        enrolled(made)
        yield made


def wrote(here, kind, id, **changes):
    """The office writes at noon."""
    desk = Desk(here)
    body = desk.seen(kind, id) | changes
    desk.send("PUT", f"{kind}/{id}", body)


def says(here, body, after=timedelta(days=1), number=500):
    """A feed of middling rank says something of a resource, so long after noon."""
    row = version(body)
    statement = Statement(row.type, row.id, row.body, row.patient, rank=5, date=row.date, status=row.status)
    message = Message(number, "adt", "north", str(number), "CRM^C01", 0, NOON, MessageState.STORED, b"")
    with here.store.begin() as tx:
        batch = Batch(tx, NOON)
        translation = replace(Translation((statement,)), sent_at=NOON + after)
        batch.prepare([translation])
        batch.apply(message, translation)
        changed = batch.flush()
        here.planner(tx, changed, lost=batch.lost)
        batch.settle_shared()
        return batch.failures


def stored(here, id):
    with here.store.begin(write=False) as tx:
        (head,) = tx.resources.heads([id]).values()
        return head, codec.decode(head.body), [(hold.kind, hold.resource) for hold in tx.worklist.holds()]


def test_a_later_message_does_not_undo_what_the_office_wrote_and_a_person_is_told(here):
    wrote(here, "ResearchSubject", SUBJECT, status="follow-up")

    says(here, a_subject(status="on-study", assignedArm="ARM-TREATED"))

    head, body, holds = stored(here, SUBJECT)
    assert (head.status, body["status"]) == ("follow-up", "follow-up")
    assert body["assignedArm"] == "ARM-TREATED", "the office said nothing of the arm"
    assert holds == [("office", f"ResearchSubject/{SUBJECT}")]


@pytest.mark.parametrize("status", ["withdrawn", "off-study", "not-registered"])
def test_that_a_subject_has_left_is_heard_whoever_says_it_last(here, status):
    wrote(here, "ResearchSubject", SUBJECT, status="follow-up", period={"start": "2026-02-01"})

    says(here, a_subject(status=status, period={"start": "2026-03-01", "end": "2026-03-21"}))

    head, body, holds = stored(here, SUBJECT)
    assert (head.status, body["status"]) == (status, status)
    assert body["period"]["end"] == "2026-03-21"
    assert holds == []


def test_that_a_consent_was_withdrawn_is_heard_and_what_it_covered_no_longer_leaves(here):
    here.deliver("edc")
    wrote(here, "Consent", CONSENT, dateTime="2026-02-01T00:00:00Z")

    says(here, a_consent(status="inactive"))

    assert stored(here, CONSENT)[1]["status"] == "inactive"
    assert Desk(here).seen("Observation", uid(f"observation hb {uid('patient')}")) is None


def test_an_end_that_was_said_before_the_office_wrote_ends_nothing(here):
    wrote(here, "ResearchSubject", SUBJECT, status="follow-up")

    says(here, a_subject(status="withdrawn"), after=timedelta(days=-1))

    assert stored(here, SUBJECT)[1]["status"] == "follow-up"
    assert stored(here, SUBJECT)[2] == []


def test_the_office_brings_back_whom_a_feed_let_go(here):
    wrote(here, "ResearchSubject", SUBJECT, status="follow-up")
    says(here, a_subject(status="withdrawn"))
    here.now += timedelta(days=2)

    wrote(here, "ResearchSubject", SUBJECT, status="on-study")

    assert stored(here, SUBJECT)[1]["status"] == "on-study"


def test_a_message_read_twice_says_the_same(here):
    wrote(here, "ResearchSubject", SUBJECT, status="follow-up")
    says(here, a_subject(status="withdrawn"))
    before = stored(here, SUBJECT)

    says(here, a_subject(status="withdrawn"))

    assert stored(here, SUBJECT) == before


def test_what_was_deleted_stays_deleted_and_a_person_is_told(here):
    Desk(here).send("DELETE", f"ResearchSubject/{SUBJECT}")

    assert says(here, a_subject(status="on-study")) == {}

    head, _, holds = stored(here, SUBJECT)
    assert head.gone
    assert holds == [("office", f"ResearchSubject/{SUBJECT}")]


def test_a_study_the_office_changed_stays_so_until_its_file_says_something_new(here):
    def start(title):
        body = {"resourceType": "ResearchStudy", "id": "mld", "status": "active", "title": title}
        prepare(
            here.store, studies=[StudyResources("mld", (body,))], codes={}, id_key=KEYS.identity, now=NOON,
            planner=here.planner,
        )  # fmt: skip

    id = study_resource_id(KEYS.identity, "mld")

    start("first")
    with here.store.begin() as tx:
        (head,) = tx.resources.heads([id]).values()
        tx.resources.append([head.but(version=2, message=7, body=head.body.replace(b"first", b"office"))])
    start("first")
    assert stored(here, id)[1]["title"] == "office"
    start("second")
    assert stored(here, id)[1]["title"] == "second"
