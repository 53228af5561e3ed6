"""A person is found as the hospital writes the number, and a wrong question does not repeat it."""

from pathlib import Path

import pytest

from gateway.bootstrap.inspection import patient_of, verdict_of
from gateway.errors import GatewayError
from gateway.model.translation import PatientKey
from tests.releasing import recipient, uid, world
from tests.story import settings


@pytest.fixture
def unit(tmp_path):
    return settings(tmp_path)


@pytest.fixture
def store(tmp_path, unit):
    system = unit.sites["san-celso-lis"].authorities["SANCELSO"].system
    with world(tmp_path, recipient()) as made:
        with made.store.begin() as tx:
            tx.resources.register_keys([PatientKey(uid("patient"), system, "0047122")])
        yield made.store


def test_an_authority_is_named_as_the_site_writes_it_or_by_its_system(unit, store):
    system = unit.sites["san-celso-lis"].authorities["SANCELSO"].system

    assert patient_of(unit, store, "SANCELSO|0047122\n") == uid("patient")
    assert patient_of(unit, store, f"{system}|0047122") == uid("patient")


@pytest.mark.parametrize("identifier", ["0047122", "SANCELSO|", "NOBODY|0047122", "SANCELSO|0047123", ""])
def test_what_names_nobody_is_refused_and_not_repeated(unit, store, identifier):
    with pytest.raises(GatewayError) as refused:
        patient_of(unit, store, identifier)

    assert "004712" not in str(refused.value)


@pytest.mark.parametrize("known", ["12", "x:ab", f"1:{'0' * 63}"])
def test_a_seal_that_is_none_is_refused(unit, store, known):
    with pytest.raises(GatewayError, match="write NUMBER:MAC"):
        verdict_of(unit, store, known, None, lambda _: None)


def test_an_anchor_file_that_is_not_there_or_spoilt_is_no_good_news(unit, store, tmp_path):
    with pytest.raises(GatewayError, match="there is no such file"):
        verdict_of(unit, store, "", Path(tmp_path / "none.json"), lambda _: None)
    (tmp_path / "spoilt.json").write_text("{}")
    with pytest.raises(GatewayError, match="cannot be read as the audit trail's anchor"):
        verdict_of(unit, store, "", Path(tmp_path / "spoilt.json"), lambda _: None)
