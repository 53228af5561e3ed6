"""FHIRPath Patch: the five operations, simple paths, and what cannot be followed."""

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.patch_path import fhirpath_patch

SUBJECT = {
    "resourceType": "ResearchSubject",
    "status": "on-study",
    "identifier": [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}],
}


def patch(type, path, name="", value=None, **numbers):
    part = [{"name": "type", "valueCode": type}, {"name": "path", "valueString": path}]
    part += [{"name": "name", "valueString": name}] if name else []
    part += [{"name": "value", **value}] if value else []
    part += [{"name": key, "valueInteger": number} for key, number in numbers.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (patch("replace", "ResearchSubject.status", value={"valueCode": "off-study"}), {"status": "off-study"}),
        (patch("replace", "ResearchSubject.identifier.where(system = 'urn:b').value", value={"valueString": "3"}),
         {"identifier": [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "3"}]}),
        (patch("replace", "ResearchSubject.identifier[0].value", value={"valueString": "3"}),
         {"identifier": [{"system": "urn:a", "value": "3"}, {"system": "urn:b", "value": "2"}]}),
        (patch("add", "ResearchSubject", "identifier", {"valueIdentifier": {"value": "9"}}),
         {"identifier": [*SUBJECT["identifier"], {"value": "9"}]}),
        (patch("add", "ResearchSubject", "extension", {"part": [{"name": "url", "valueUri": "urn:x"}]}),
         {"extension": [{"url": "urn:x"}]}),
        (patch("add", "ResearchSubject", "period", {"part": [{"name": "start", "valueDateTime": "2026"}]}),
         {"period": {"start": "2026"}}),
        (patch("add", "ResearchSubject.identifier.first()", "type",
               {"part": [{"name": "coding", "part": [{"name": "code", "valueCode": "x"}]}]}),
         {"identifier": [{"system": "urn:a", "value": "1", "type": {"coding": [{"code": "x"}]}},
                         SUBJECT["identifier"][1]]}),
        (patch("insert", "ResearchSubject.identifier", value={"valueIdentifier": {"value": "0"}}, index=0),
         {"identifier": [{"value": "0"}, *SUBJECT["identifier"]]}),
        (patch("move", "ResearchSubject.identifier", source=1, destination=0),
         {"identifier": SUBJECT["identifier"][::-1]}),
        (patch("delete", "ResearchSubject.identifier.last()"), {"identifier": SUBJECT["identifier"][:1]}),
        (patch("delete", "ResearchSubject.period"), {}),
    ],
)  # fmt: skip
def test_an_operation_changes_one_place(operation, expected):
    assert fhirpath_patch(operation, SUBJECT) == SUBJECT | expected
    assert SUBJECT["status"] == "on-study"


def test_the_operations_of_a_patch_follow_each_other():
    both = patch("delete", "ResearchSubject.identifier[0]")
    both["parameter"] *= 2

    assert fhirpath_patch(both, SUBJECT)["identifier"] == []


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (patch("replace", "ResearchSubject.period", value={"valuePeriod": {}}), 422),
        (patch("replace", "ResearchSubject.identifier", value={"valueIdentifier": {}}), 422),
        (patch("replace", "ResearchSubject", value={"valueString": "x"}), 422),
        (patch("replace", "ResearchSubject.status"), 422),
        (patch("replace", "Patient.name", value={"valueString": "x"}), 422),
        (patch("replace", "ResearchSubject.descendants()", value={"valueString": "x"}), 422),
        (patch("replace", "ResearchSubject.identifier.where(value > 1)", value={"valueString": "x"}), 422),
        (patch("replace", "ResearchSubject.identifier.where()", value={"valueString": "x"}), 422),
        (patch("add", "ResearchSubject", "status", {"valueCode": "x"}), 422),
        (patch("add", "ResearchSubject.status", "x", {"valueCode": "x"}), 422),
        (patch("insert", "ResearchSubject.identifier", value={"valueIdentifier": {}}, index=7), 422),
        (patch("insert", "ResearchSubject.status", value={"valueCode": "x"}, index=0), 422),
        (patch("move", "ResearchSubject.identifier", source=0), 422),
        (patch("delete", "ResearchSubject"), 422),
        (patch("explode", "ResearchSubject.status"), 422),
        ({"resourceType": "Parameters"}, 400),
        ({"resourceType": "Parameters", "parameter": [{"name": "x"}]}, 400),
        ({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [1]}]}, 400),
        ([], 400),
    ],
)
def test_what_does_not_fit_or_is_no_patch_is_refused(operation, status):
    with pytest.raises(RequestRefused) as refused:
        fhirpath_patch(operation, SUBJECT)

    assert refused.value.status == status
