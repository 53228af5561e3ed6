"""What belongs to nobody is seen by whom it concerns, as long as it does; what is remembered of that is never older."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.model.delivery import View
from gateway.model.recipient import ReleaseRule
from gateway.services.chart import Chart
from gateway.services.concerns import learnt, referred
from gateway.services.pull import Pull
from tests.releasing import (
    EVERYTHING,
    MLD,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    an_organization,
    recipient,
    uid,
    world,
)
from tests.writing import Desk

PATIENT, OTHER = uid("patient"), uid("other patient")
LABORATORY = uid("laboratory")
PARENTS = EVERYTHING | {"Organization": ReleaseRule(("identifier", "name", "active", "partOf"))}


@pytest.fixture
def here(tmp_path):
    files = (
        recipient("edc", identity="identified"),
        recipient("parents", identity="identified", release=PARENTS),
        recipient(
            "blind",
            identity="identified",
            release=EVERYTHING | {"Observation": ReleaseRule(("status", "code", "subject"))},
        ),
        recipient("elsewhere", identity="identified", studies=("was",)),
    )
    with world(tmp_path, *files) as made:
        made.write(a_study(), a_study(WAS), an_organization(), an_organization(id=uid("other"), name="Other"))
        made.write(an_organization(id=uid("trust"), name="Trust"))
        enrol(made, PATIENT)
        yield made


def enrol(here, patient, **changes):
    here.write(a_patient(patient), a_consent(patient), a_subject(patient, **changes), patient=patient)


def measured(here, name="hb", patient=PATIENT, by=LABORATORY, **changes):
    performer = {"performer": [{"reference": f"Organization/{by}"}]} if by else {}
    here.write(an_observation(name, patient, **performer, **changes), patient=patient)


def client(here, recipient="edc", study="mld"):
    return Desk(here, View(recipient, study))


def sees(desk, *ids):
    return [desk.seen("Organization", id) is not None for id in ids]


def test_an_organization_is_seen_by_whose_data_name_it_and_only_where_the_view_is_shown_that(here):
    desks = [client(here), client(here, "blind"), client(here, "elsewhere", "was")]
    assert [sees(desk, LABORATORY) for desk in desks] == [[False]] * 3

    measured(here)

    assert [sees(desk, LABORATORY, uid("other")) for desk in desks] == [[True, False], [False, False], [False, False]]


def test_what_a_correction_no_longer_names_is_no_longer_seen(here):
    measured(here)
    desk = client(here)
    assert sees(desk, LABORATORY, uid("other")) == [True, False]

    measured(here, by=uid("other"))

    assert sees(desk, LABORATORY, uid("other")) == [False, True]


def test_it_is_seen_as_long_as_one_of_the_patients_names_it(here):
    enrol(here, OTHER)
    desk = client(here)
    measured(here)
    measured(here, patient=OTHER)
    assert sees(desk, LABORATORY) == [True]

    here.write(a_consent(status="inactive"))
    assert sees(desk, LABORATORY) == [True]
    here.write(a_consent(OTHER, status="inactive"), patient=OTHER)

    assert sees(desk, LABORATORY) == [False]


def test_a_withdrawal_and_a_return_are_noticed_by_who_has_asked_before(here):
    measured(here)
    desk = client(here)

    found = [sees(desk, LABORATORY)]
    for status in ("withdrawn", "on-study"):
        here.write(a_subject(status=status))
        found.append(sees(desk, LABORATORY))

    assert found == [[True], [False], [True]]


def test_a_consent_that_ends_by_itself_ends_it_though_nothing_was_stored(here):
    measured(here)
    provision = a_consent()["provision"] | {"period": {"end": "2026-03-25"}}
    here.write(a_consent(provision=provision))
    desk = client(here)
    assert sees(desk, LABORATORY) == [True]

    here.now += timedelta(days=10)

    assert sees(desk, LABORATORY) == [False]


def test_an_organization_concerns_with_its_parents_where_the_file_lists_them(here):
    measured(here)
    for id, above in ((LABORATORY, "other"), (uid("other"), "trust"), (uid("trust"), "laboratory")):
        here.write(an_organization(id=id, partOf={"reference": f"Organization/{uid(above)}"}))

    ids = (LABORATORY, uid("other"), uid("trust"))
    assert sees(client(here, "parents"), *ids) == [True, True, True]
    assert sees(client(here), *ids) == [True, False, False]


def test_what_the_study_names_concerns_its_views_without_any_patient(here):
    file = recipient(
        "sponsors", identity="identified", release=EVERYTHING | {"ResearchStudy": ReleaseRule(("status", "sponsor"))}
    )
    here.configure(file, recipient("elsewhere", identity="identified", studies=("was",)))
    desk = client(here, "sponsors")

    here.write(a_study(sponsor={"reference": f"Organization/{LABORATORY}"}))

    assert sees(desk, LABORATORY, uid("other")) == [True, False]
    assert sees(client(here, "elsewhere", "was"), LABORATORY) == [False]


def test_a_pseudonymous_view_sees_it_by_its_own_id_where_its_file_names_who_measured(here):
    file = recipient("coded")
    here.configure(
        file, replace(file, id="silent", release=EVERYTHING | {"Observation": ReleaseRule(("status", "code"))})
    )
    measured(here)
    coded, silent = client(here, "coded"), client(here, "silent")

    assert sees(coded, coded.public(LABORATORY), LABORATORY) == [True, False]
    assert sees(silent, silent.public(LABORATORY), LABORATORY) == [False, False]


def test_what_an_export_learnt_is_what_a_search_would_have_found(here):
    measured(here)
    desk = client(here)
    rights = here.policy.rights(View("edc", "mld"))
    with here.store.begin(write=False) as tx:
        pull = Pull(tx, desk.sight, desk.caller, here.now)
        chart = Chart(pull, rights, PATIENT, tx.resources.of_patient(PATIENT))
        assert set(referred(chart)) == {LABORATORY, MLD.resource}
        newest = tx.resources.newest_changes([PATIENT])[PATIENT]
        desk.sight.concerns.learn(rights.view, {PATIENT: learnt(chart, newest)})
        assert LABORATORY in desk.sight.concerns.of(pull, rights)

    measured(here, by="")

    assert sees(desk, LABORATORY) == [False]
