"""FHIR R4 3.1.1.4.13: composite."""

from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from tests.searching import found, query

UCUM = "http://unitsofmeasure.org"


def coded(code):
    return {"coding": [{"system": "http://loinc.org", "code": code}]}


def part(code, value):
    return {"code": coded(code), "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]"}}


PRESSURE = {
    "resourceType": "Observation",
    "id": "1",
    "code": coded("85354-9"),
    "component": [part("8480-6", 107), part("8462-4", 60)],
}
GLUCOSE = {"resourceType": "Observation", "id": "2", **part("2339-0", 7), "effectiveDateTime": "2024-01-01"}


@pytest.mark.parametrize(
    ("resource", "name", "asked", "is_found"),
    [
        (PRESSURE, "component-code-value-quantity", "http://loinc.org|8480-6$lt110", True),
        (PRESSURE, "component-code-value-quantity", "8480-6$60", False),  # 60 is another component's
        (PRESSURE, "component-code-value-quantity", "8480-6$60,8462-4$60", True),
        (PRESSURE, "code-value-quantity", "8480-6$lt110", False),
        (PRESSURE, "combo-code-value-quantity", f"8480-6$107|{UCUM}|mm[Hg]", True),
        (GLUCOSE, "combo-code-value-quantity", "2339-0$7", True),
        (GLUCOSE, "code-value-quantity", "2339-0$gt6", True),
        (GLUCOSE, "component-code-value-quantity", "2339-0$gt6", False),
    ],
)
def test_all_parts_hold_in_the_same_element(resource, name, asked, is_found):
    assert found(resource, (name, asked)) is is_found


def test_composites_of_texts_concepts_and_dates():
    observation = {"resourceType": "Observation", "id": "1", "code": coded("1-8")}

    assert found({**observation, "valueString": "Positive"}, ("code-value-string", "1-8$pos"))
    assert found({**observation, "valueDateTime": "2024-02-01"}, ("code-value-date", "1-8$ge2024"))
    assert found({**observation, "valueCodeableConcept": coded("LA1")}, ("code-value-concept", "1-8$LA1"))
    assert not found({**observation, "valueCodeableConcept": coded("LA1")}, ("code-value-concept", "1-9$LA1"))


def test_the_progress_of_a_study_is_searched_by_state_and_actual_in_r5():
    study = {"resourceType": "ResearchStudy", "id": "1", "progressStatus": [{"state": coded("closed"), "actual": True}]}

    assert found(study, ("progress-status-state-actual", "closed$true"), release="R5")
    assert not found(study, ("progress-status-state-actual", "closed$false"), release="R5")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("code-value-quantity", "2339-0"),
        ("code-value-quantity", "a$1$2"),
        ("code-value-quantity", "$1"),
        ("code-value-quantity", "a$x"),
        ("code-value-quantity:missing", "true"),
    ],
)
def test_a_composite_needs_all_its_parts_and_takes_no_modifier(name, wrong):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", (name, wrong))

    assert refused.value.expression == (name,)
