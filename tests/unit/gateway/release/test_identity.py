"""Pseudonymous ids."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.release.identity import is_reference, pseudonym, resolve

ROOT = b"p" * 32
uuids = st.uuids().map(str)


@given(uuids, st.sampled_from(["mld", "was"]))
def test_a_pseudonym_is_a_uuid_that_only_the_key_resolves(internal, study):
    public = pseudonym(internal, study, ROOT)

    assert str(uuid.UUID(public)) == public != internal
    assert resolve(public, study, ROOT) == internal
    assert resolve(public, study, b"q" * 32) != internal


@given(uuids)
def test_the_same_resource_has_another_id_in_each_study(internal):
    assert pseudonym(internal, "mld", ROOT) != pseudonym(internal, "was", ROOT)
    assert pseudonym(internal, "mld", ROOT) == pseudonym(internal, "mld", ROOT)


def test_what_is_no_uuid_has_no_pseudonym():
    with pytest.raises(ValueError, match="badly formed"):
        pseudonym("0045123", "mld", ROOT)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"reference": "Patient/1"}, True),
        ({"display": "Dr Bianchi"}, True),
        ({"identifier": {"value": "1"}, "display": "x"}, True),
        ({"type": {"text": "x"}}, False),
        ({"system": "http://loinc.org", "code": "1", "display": "x"}, False),
        ({}, False),
    ],
)
def test_a_reference_is_known_however_it_is_written(element, expected):
    assert is_reference(element) is expected
