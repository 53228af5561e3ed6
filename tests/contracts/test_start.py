"""Starting beside others on one database: several processes prepare it, and some work already."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.model.delivery import View
from gateway.model.site import CodeMapEntry
from gateway.release.policy import Policy
from gateway.services.plan import plan, replan
from gateway.services.prepare import StudyResources, prepare
from tests import releasing
from tests.contracts.stores import KEYS, NOW
from tests.releasing import MLD, a_consent, a_patient, a_subject, an_observation, uid

ROWS = tuple(CodeMapEntry(code, (("http://loinc.org", "718-7", ""),)) for code in ("HB", "HGB"))
POLICY = Policy([releasing.recipient()], [MLD], KEYS.pseudonym)
PATIENT = uid("patient")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # one process owns an embedded one
def test_processes_that_start_at_once_write_the_configuration_once(database):
    study = {"resourceType": "ResearchStudy", "id": "mld", "status": "active", "title": "A study"}

    def start(store):
        prepare(
            store,
            studies=[StudyResources("mld", (study,))],
            codes={"north": ROWS},
            id_key=KEYS.identity,
            now=NOW,
            planner=lambda tx, changed: plan(tx, changed, POLICY, NOW),
        )

    stores = [database.open() for _ in range(5)]
    with ThreadPoolExecutor(5) as processes:
        list(processes.map(start, stores))

    with stores[0].begin(write=False) as tx:
        assert tx.codes.of_site("north") == ROWS
        assert tx.codes.revision() == 1
        assert [line.detail for line in tx.audit.find(subject="site/north")] == ["2 rows"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # one writes at a time elsewhere
def test_a_change_that_is_committed_while_a_recipient_is_planned_anew_is_planned(database):
    working, starting = database.open(), database.open()
    with working.begin() as tx:
        tx.resources.append([releasing.version(one) for one in (a_patient(), a_consent(), a_subject())])
    with working.begin() as tx:
        tx.resources.lock_patients([PATIENT])
        written = tx.resources.append([releasing.version(an_observation())])
        with starting.begin() as other:
            other.resources.append([releasing.version(a_patient(uid("other")), uid("other"))])
        with starting.begin() as other:
            replan(other, POLICY, NOW)
        tx.deliveries.plan(plan(tx, written, POLICY, NOW).due, NOW)

    with starting.begin(write=False) as tx:
        cursor = tx.deliveries.of_view(View("edc", "mld"), PATIENT)
    assert cursor.planned == written[0].change
