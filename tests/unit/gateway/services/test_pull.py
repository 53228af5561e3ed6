"""What a caller reads: through each of its views, under the ids those views have, and nothing else."""

import pytest

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from gateway.model.recipient import ReleaseRule
from gateway.services.pull import Pull
from tests.releasing import (
    MLD,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    recipient,
    uid,
    world,
)
from tests.writing import Desk

PATIENT, OTHER = uid("patient"), uid("other patient")
BLOOD = uid(f"observation hb {PATIENT}")


@pytest.fixture
def here(tmp_path):
    files = (
        recipient("edc", studies=("mld", "was"), identity="identified"),
        recipient("coded", studies=("mld", "was")),
        recipient("few", identity="identified", release={"Patient": ReleaseRule(("gender",))}),
    )
    with world(tmp_path, *files) as made:
        made.write(a_study(), a_study(WAS))
        for patient, studies in ((PATIENT, (MLD, WAS)), (OTHER, (WAS,))):
            made.write(a_patient(patient), an_observation(patient=patient), patient=patient)
            for study in studies:
                made.write(a_consent(patient, study), a_subject(patient, study), patient=patient)
        yield made


@pytest.fixture
def pulled(here):
    """Make a Pull of a caller of some views."""
    with here.store.begin(write=False) as tx:
        sight = Desk(here, View("edc", "mld")).sight

        def made(*views, release="R4"):
            caller = Caller("ctms", tuple(View(*view) for view in views), (Scope("*", "rs"),))
            return Pull(tx, sight, caller, here.now, release)

        yield made


def test_a_caller_has_the_views_that_a_file_makes_each_once_in_its_own_order(pulled):
    pull = pulled(("coded", "was"), ("edc", "mld"), ("nobody", "mld"), ("coded", "was"), ("few", "was"))

    assert [rights.view for rights in pull.views] == [View("coded", "was"), View("edc", "mld")]


def test_a_caller_reads_through_any_of_its_views(pulled):
    pull = pulled(("few", "mld"), ("edc", "was"))

    chart, seen = pull.read("Patient", PATIENT)
    assert (chart.rights.view, set(seen.body) - {"meta"}) == (View("few", "mld"), {"resourceType", "id", "gender"})
    chart, seen = pull.read("Patient", OTHER)
    assert (chart.rights.view, "birthDate" in seen.body) == (View("edc", "was"), True)
    assert pull.read("Observation", BLOOD)[0].rights.view == View("edc", "was")


@pytest.mark.parametrize(
    ("type", "id"),
    [("Observation", PATIENT), ("Patient", OTHER), ("Patient", uid("never")), ("Patient", "no-uuid"), ("Patient", ""),
     ("Patient", PATIENT.upper()), ("Practitioner", PATIENT), ("Nothing", PATIENT)],
)  # fmt: skip
def test_what_is_of_another_type_another_study_or_no_id_is_not_there(pulled, type, id):
    assert pulled(("edc", "mld")).read(type, id) is None


def test_a_patient_of_two_studies_has_two_ids_that_neither_view_reads_of_the_other(here, pulled):
    ids = [here.policy.rights(View("coded", study)).public_id(PATIENT) for study in ("mld", "was")]
    first, second, both = pulled(("coded", "mld")), pulled(("coded", "was")), pulled(("coded", "mld"), ("coded", "was"))

    assert len({PATIENT, *ids}) == 3
    assert [[pull.read("Patient", id) is not None for id in (PATIENT, *ids)] for pull in (first, second, both)] == [
        [False, True, False],
        [False, False, True],
        [False, True, True],
    ]


def test_a_caller_of_a_clear_and_a_coded_view_is_told_by_which_id_it_asked(here, pulled):
    pull = pulled(("coded", "mld"), ("edc", "mld"))
    public = here.policy.rights(View("coded", "mld")).public_id(PATIENT)

    assert [pull.read("Patient", id)[0].rights.view.recipient for id in (public, PATIENT)] == ["coded", "edc"]
    assert pull.read("Patient", public)[1].body["birthDate"] == "2019"


def test_patients_come_in_the_order_of_the_ids_that_the_view_has(here, pulled):
    for study in ("mld", "was"):
        rights = here.policy.rights(View("coded", study))
        patients = pulled(("coded", study)).patients(rights)
        assert list(patients) == sorted(patients, key=rights.public_id)
        assert set(patients) == ({PATIENT} if study == "mld" else {PATIENT, OTHER})


def test_whoever_comes_behind_a_patient_is_found_though_that_one_has_left(here, pulled):
    rights = here.policy.rights(View("edc", "was"))
    pull = pulled(("edc", "was"))
    first, second = pull.patients(rights)

    assert pull.patients_behind(rights, "") == (first, second)
    assert pull.patients_behind(rights, first) == (second,)
    assert pull.patients_behind(rights, second) == ()
    for left in ("0" + uid("left")[1:], "f" + uid("left")[1:]):
        assert pull.patients_behind(rights, left) == tuple(one for one in (first, second) if one > left)


def test_one_pull_is_one_moment(here, pulled):
    """What is written while an answer is made does not get into it."""
    pull = pulled(("edc", "mld"))
    assert pull.read("Patient", PATIENT) is not None

    here.write(a_subject(status="withdrawn"))

    assert pull.read("Observation", BLOOD) is not None
    assert Desk(here, View("edc", "mld")).seen("Observation", BLOOD) is None


def test_charts_of_persons_and_whole_charts_say_the_same_of_a_subject(here, pulled):
    rights = here.policy.rights(View("edc", "was"))
    pull = pulled(("edc", "was"))
    patients = pull.patients(rights)

    quick = [
        [seen.text for seen in chart.of_type("ResearchSubject")] for chart in pull.charts_of_persons(rights, patients)
    ]
    whole = [[seen.text for seen in chart.of_type("ResearchSubject")] for chart in pull.charts(rights)]

    assert quick == whole
    assert [len(one) for one in quick] == [1, 1]


def test_it_is_answered_in_the_release_asked_for(pulled):
    seen = pulled(("edc", "mld"), release="R5").read("ResearchSubject", uid(f"subject mld {PATIENT}"))[1]

    assert seen.body["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert "individual" not in seen.body
