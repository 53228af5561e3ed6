"""What is kept of records at a glance leaves out what cannot match, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.fhir.search.query import parse
from gateway.model.access import Caller, scopes_of
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search
from tests.releasing import LOINC, NOON, a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world

PATIENTS = [uid(f"patient {number}") for number in range(3)]
LATER = NOON + timedelta(days=2)


class Searches:
    """Searches of one client; how many records each of them opens is told beside what it finds."""

    def __init__(self, world):
        self.world = world
        self.sight = Sight(world.policy, Enrolments(world.policy), Concerns())
        self.now = LATER + timedelta(days=9)

    def __call__(self, text, type="Observation"):
        pairs = [tuple(one.split("=", 1)) for one in text.split("&")]
        query = parse("R4", type, pairs, base="http://gateway")
        caller = Caller("edc", self.world.policy.views, scopes_of("system/*.rs"))
        with self.world.store.begin(write=False) as tx:
            pull = Pull(tx, self.sight, caller, self.now)
            return {match.chart.patient for match in Search(pull, "http://gateway").matches(query)}

    def opened(self, text):
        """Return of which patients the records would be opened."""
        query = parse("R4", "Observation", [tuple(text.split("=", 1))], base="http://gateway")
        with self.world.store.begin(write=False) as tx:
            return self.sight.gists.worth(query, tx.resources.newest_changes(PATIENTS), None)


@pytest.fixture
def searches(tmp_path):
    with world(tmp_path, recipient(look_back=timedelta(days=30))) as made:
        made.write(a_study())
        for patient in PATIENTS:
            made.write(a_patient(patient), a_subject(patient), a_consent(patient), patient=patient)
            made.write(an_observation(patient=patient), patient=patient)
        coded = {"coding": [{"system": LOINC, "code": "LP-Rare"}]}
        made.write(an_observation("rare", PATIENTS[1], code=coded), patient=PATIENTS[1], stored_at=LATER)
        yield Searches(made)


RARE = f"code={LOINC}|lp-rare"
NEWER = "_lastUpdated=gt2026-03-21"


@pytest.mark.parametrize("asked", [RARE, NEWER])
def test_a_search_finds_the_same_once_it_knows_the_records_and_opens_fewer(searches, asked):
    first = searches(asked)
    assert first == searches(asked) == {PATIENTS[1]}
    assert searches.opened(asked) == {PATIENTS[1]}


@pytest.mark.parametrize("asked", [RARE, NEWER])
def test_a_record_that_changed_is_opened_again(searches, asked):
    searches(asked)
    coded = {"coding": [{"system": LOINC, "code": "LP-Rare"}]}
    searches.world.write(an_observation("more", PATIENTS[2], code=coded), patient=PATIENTS[2], stored_at=LATER)

    assert searches(asked) == {PATIENTS[1], PATIENTS[2]}


def test_what_was_stored_long_since_is_new_to_a_view_from_its_consent_on(searches):
    given = (LATER + timedelta(days=3)).isoformat()
    patient = PATIENTS[0]
    searches.world.write(a_consent(patient, dateTime=given), patient=patient)

    searches.now = LATER
    assert searches(NEWER) == {PATIENTS[1]}
    searches.now = LATER + timedelta(days=9)
    assert searches(NEWER) == {PATIENTS[0], PATIENTS[1]}


def test_what_is_written_with_escapes_is_never_left_out(searches):
    odd = {"coding": [{"system": LOINC, "code": "LP-Rare", "display": "\u0007"}]}
    searches.world.write(an_observation("odd", PATIENTS[0], code=odd), patient=PATIENTS[0])

    assert searches(RARE) == searches(RARE) == {PATIENTS[0], PATIENTS[1]}
    assert PATIENTS[0] in searches.opened("code=nothing-has-it")


def test_other_prefixes_of_a_time_open_every_record(searches):
    searches("_lastUpdated=lt2026-03-21")
    assert datetime(2026, 3, 21, tzinfo=UTC) < LATER
    assert searches.opened("_lastUpdated=lt2026-03-21") == set(PATIENTS)
