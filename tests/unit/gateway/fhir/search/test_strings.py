"""FHIR R4 3.1.1.4.8 and 3.1.1.4.12: string and uri."""

from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from tests.searching import found, query

PATIENT = {
    "resourceType": "Patient",
    "id": "1",
    "meta": {"profile": ["http://a.example/Profile|1.0"], "source": "http://a.example/feed/x"},
    "name": [
        {"family": "Müller", "given": ["Evelyn", "Ann"], "text": "Dr Evelyn Müller"},
        {"family": "Robert", "_given": [None], "given": [None, "severine"]},
    ],
    "address": [{"line": ["1 High St"], "city": "Genève", "country": "CH"}],
}
VALUE_SET = {"resourceType": "ValueSet", "id": "1", "status": "active", "url": "http://acme.example/fhir/ValueSet/123"}


@pytest.mark.parametrize(
    ("name", "asked", "is_found"),
    [
        ("given", "eve", True),
        ("given", "Evelyn", True),
        ("given", "lyn", False),
        ("given:contains", "eve", True),
        ("given:contains", "VERI", True),
        ("given:exact", "Eve", False),
        ("given:exact", "Evelyn", True),
        ("given:exact", "evelyn", False),
        ("family", "muller", True),
        ("family", "MÜLL", True),
        ("family:exact", "Muller", False),
        ("name", "dr eve", True),
        ("name", "ann", True),
        ("address", "geneve", True),
        ("address", "1 high", True),
        ("address-city:contains", "NEVE", True),
        ("address", "high", False),
        ("phonetic", "Rupert", True),
        ("phonetic", "Paul", False),
        ("family", r"mull\,er,rob", True),
    ],
)
def test_a_string_begins_so_whatever_its_case_and_accents(name, asked, is_found):
    assert found(PATIENT, (name, asked)) is is_found


def test_what_has_the_sounds_of_a_name_takes_no_other_comparison():
    for modifier in ("exact", "contains"):
        with pytest.raises(RequestRefused):
            query("Patient", (f"phonetic:{modifier}", "Rupert"))
    assert found(PATIENT, ("phonetic:missing", "false"))


@pytest.mark.parametrize(
    ("name", "asked", "is_found"),
    [
        ("url", "http://acme.example/fhir/ValueSet/123", True),
        ("url", "http://acme.example/fhir/ValueSet", False),
        ("url", "HTTP://acme.example/fhir/ValueSet/123", False),
        ("url:below", "http://acme.example/fhir/", True),
        ("url:below", "http://acme.example/fhir/Value", False),
        ("url:above", "http://acme.example/fhir/ValueSet/123/_history/5", True),
        ("url:above", "http://acme.example/fhir", False),
        ("url", "urn:oid:1.2.3.4.5", False),
    ],
)
def test_a_uri_is_equal_or_stands_above_or_below(name, asked, is_found):
    assert found(VALUE_SET, (name, asked)) is is_found


def test_urns_have_no_above_and_below():
    with pytest.raises(RequestRefused):
        query("ValueSet", ("url:below", "urn:oid:1.2.3"))


def test_a_canonical_has_any_version_where_none_is_asked_for():
    assert found(PATIENT, ("_profile", "http://a.example/Profile"))
    assert found(PATIENT, ("_profile", "http://a.example/Profile|1.0"))
    assert not found(PATIENT, ("_profile", "http://a.example/Profile|2.0"))
    assert found(PATIENT, ("_source", "http://a.example/feed/x"))
