"""The patients of each study, in an order that says nothing beyond the study."""

from __future__ import annotations

from pathlib import Path

from gateway.model.delivery import View
from gateway.services.enrolments import Enrolments
from tests.releasing import MLD, WAS, a_patient, a_study, a_subject, recipient, uid, world

PATIENTS = [uid(f"patient {number}") for number in range(9)]


def test_a_patient_is_in_the_study_as_soon_as_a_subject_is_stored(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        enrolments = Enrolments(made.policy)
        for number, patient in enumerate(PATIENTS):
            made.write(a_study(), a_patient(patient), patient=patient)
            made.write(a_subject(patient), patient=patient)
            with made.store.begin(write=False) as tx:
                assert enrolments.patients(tx, "mld") == tuple(sorted(PATIENTS[: number + 1]))
                assert enrolments.patients(tx, "was") == ()


def test_the_order_of_one_study_does_not_tell_the_order_of_another(tmp_path: Path) -> None:
    views = [recipient(kind="pull", studies=("mld", "was")), recipient("named", kind="pull", identity="identified")]
    with world(tmp_path, *views) as made:
        for patient in PATIENTS:
            made.write(a_patient(patient), a_subject(patient, MLD), a_subject(patient, WAS), patient=patient)
        enrolments = Enrolments(made.policy)
        with made.store.begin(write=False) as tx:
            rights = {view: made.policy.rights(view) for view in made.policy.views}
            orders = {view: enrolments.in_order(tx, one) for view, one in rights.items() if one is not None}
        for view, order in orders.items():
            one = rights[view]
            assert one is not None
            assert list(order) == sorted(PATIENTS, key=one.public_id)
        assert orders[View("edc", "mld")] != orders[View("edc", "was")]
