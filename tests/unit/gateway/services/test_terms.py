"""What a changed recipient's file lets out that it did not before stands in the audit trail."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.model.recipient import ReleaseRule
from gateway.ports import AuditEvent
from gateway.services.plan import replan
from gateway.services.terms import CHANGED, FILE, digest_of
from tests.releasing import NOON, recipient, world

EDC = recipient(release={"Patient": ReleaseRule(("gender", "birthDate"))})


def changed_to(tmp_path, *files):
    """Plan under one file after the other; return the lines that say what changed, oldest first."""
    with world(tmp_path, EDC) as made:
        for file in files:
            made.policy.recipients["edc"] = file
            with made.store.begin() as tx:
                replan(tx, made.policy, NOON)
        with made.store.begin(write=False) as tx:
            noted = tx.audit.find(action=FILE)
            return tx.audit.find(action=CHANGED)[::-1], noted


def test_the_first_file_and_the_same_again_change_nothing(tmp_path):
    changes, noted = changed_to(tmp_path, EDC, EDC)

    assert (changes, len(noted)) == ([], 1)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (replace(EDC, release={"Patient": ReleaseRule(("gender", "name"))}),
         "release.Patient.elements +name -birthDate"),
        (replace(EDC, release={**EDC.release, "Encounter": ReleaseRule(("status",))}),
         "release.Encounter.elements +status"),
        (replace(EDC, identity="identified", look_back=timedelta(days=30)),
         "identity pseudonymous -> identified; look_back 0:00:00 -> 30 days, 0:00:00"),
    ],
)  # fmt: skip
def test_what_is_new_is_said_between_which_digests(tmp_path, file, words):
    (change,), (after, before) = changed_to(tmp_path, EDC, file)

    assert change.subject == "recipient/edc"
    said, _, told = change.detail.partition(": ")
    assert said == f"{digest_of(before)} to {digest_of(after)}"
    assert words in told


def test_a_digest_noted_by_an_earlier_version_is_known_again(tmp_path):
    with world(tmp_path, EDC) as made:
        line = AuditEvent(NOON, FILE, "gateway", "recipient/edc", made.policy.digest("edc"))
        with made.store.begin() as tx:
            tx.audit.write([line])
            assert replan(tx, made.policy, NOON) == []
            made.policy.recipients["edc"] = replace(EDC, purpose="HRESCH")
            assert replan(tx, made.policy, NOON) == ["edc"]
            assert tx.audit.find(action=CHANGED)[0].detail.endswith("its terms were not noted then")
