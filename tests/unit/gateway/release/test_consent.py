"""From when to when."""

from datetime import timedelta

import pytest

from gateway.model.study import Consent
from gateway.release.consent import Entitlement, entitlement, never_valid
from gateway.release.decision import Withheld
from tests.releasing import NOON, SIGNED, recipient, subject

DAY = timedelta(days=1)


def consent(given=SIGNED, active=True, ends=None, purposes=("CLINTRCH",), status="active"):
    return Consent(active, given, frozenset(purposes), ends, status=status)


@pytest.mark.parametrize(
    ("consents", "ended", "expected"),
    [
        ([consent()], None, Entitlement(SIGNED)),
        ([consent(), consent(SIGNED + DAY)], None, Entitlement(SIGNED)),
        ([consent(purposes=["TREAT"]), consent(SIGNED + DAY)], None, Entitlement(SIGNED + DAY)),
        ([consent()], NOON, Entitlement(SIGNED, NOON)),
        ([consent(ends=NOON + DAY)], NOON + 2 * DAY, Entitlement(SIGNED, NOON + DAY)),
        ([consent(ends=NOON + DAY), consent()], None, Entitlement(SIGNED)),
        ([consent(None)], None, Entitlement(None)),
    ],
)
def test_the_consents_in_force_for_the_purpose_say_from_when_to_when(consents, ended, expected):
    assert entitlement(subject(consents=tuple(consents), ended_at=ended), recipient(), NOON) == expected


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (Entitlement(SIGNED), Withheld("consent")),
        (Entitlement(SIGNED - DAY), Entitlement(SIGNED)),
        (Entitlement(SIGNED), Entitlement(None)),
        (Entitlement(SIGNED), Entitlement(SIGNED, NOON)),
        (Entitlement(SIGNED, NOON + DAY), Entitlement(SIGNED, NOON)),
    ],
)
def test_wider_means_that_something_may_leave_that_could_not(wide, narrow):
    assert wide.wider_than(narrow)
    if isinstance(narrow, Entitlement):
        assert not narrow.wider_than(wide)
    assert not wide.wider_than(wide)


@pytest.mark.parametrize(
    ("consents", "never"),
    [
        ([], True),
        ([consent(active=False, status="entered-in-error")], True),
        ([consent(active=False, status="rejected")], True),
        ([consent(active=False, status="inactive")], False),
        ([consent(purposes=["TREAT"])], True),
    ],
)
def test_a_withdrawn_consent_was_valid_and_one_in_error_never_was(consents, never):
    assert never_valid(subject(consents=tuple(consents)), recipient()) is never
