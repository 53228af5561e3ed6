from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.search.parameters import LINKED, includes, parameters, revincludes, types
from gateway.release.policy import REQUIRED

ALL = "_id _lastUpdated _profile _security _source _tag"

# From the pages "Search Parameters" of the four types, R4 4.0.1.
R4 = {
    "ResearchStudy": """
        category date focus identifier keyword location partof principalinvestigator protocol site sponsor status
        title
    """,
    "ResearchSubject": """
        date identifier individual patient status study
    """,
    "Patient": """
        active address address-city address-country address-postalcode address-state address-use birthdate
        death-date deceased email family gender general-practitioner given identifier language link name
        organization phone phonetic telecom
    """,
    "Observation": """
        based-on category code code-value-concept code-value-date code-value-quantity code-value-string
        combo-code combo-code-value-concept combo-code-value-quantity combo-data-absent-reason
        combo-value-concept combo-value-quantity component-code component-code-value-concept
        component-code-value-quantity component-data-absent-reason component-value-concept
        component-value-quantity data-absent-reason date derived-from device encounter focus has-member
        identifier method part-of patient performer specimen status subject value-concept value-date
        value-quantity value-string
    """,
}
# The same of R5 5.0.0.
R5 = {
    "ResearchStudy": """
        classifier condition date description eligibility focus-code focus-reference identifier keyword name
        objective-description objective-type part-of phase progress-status-state-actual
        progress-status-state-period progress-status-state-period-actual protocol recruitment-actual
        recruitment-target region site status study-design title
    """,
    "ResearchSubject": """
        date identifier patient status study subject subject_state
    """,
}


@pytest.mark.parametrize(
    ("release", "type", "names"), [("R4", *each) for each in R4.items()] + [("R5", *each) for each in R5.items()]
)
def test_every_parameter_the_specification_defines_is_there_and_no_other(release, type, names):
    own = {name for name in parameters(release, type) if not name.startswith("_")}

    assert own == set(names.split())
    assert set(ALL.split()) <= parameters(release, type).keys()


def test_each_parameter_names_its_definition():
    assert parameters("R4", "Observation")["code"].url == "http://hl7.org/fhir/SearchParameter/clinical-code"
    assert parameters("R5", "Patient")["_id"].url == "http://hl7.org/fhir/SearchParameter/Resource-id"


def test_every_path_of_every_parameter_reads_nothing_from_an_empty_resource():
    for release in ("R4", "R5"):
        for type in types(release):
            for parameter in parameters(release, type).values():
                for path in parameter.paths:
                    assert list(path.get({})) == ([{}] if path.text == "." else [])


@pytest.mark.parametrize("type", ["Resource", "Account", "", "patient"])
def test_a_type_that_is_not_served_is_not_found(type):
    with pytest.raises(RequestRefused) as refused:
        parameters("R4", type)

    assert (refused.value.status, refused.value.code) == (404, "not-supported")


def test_binary_has_the_parameters_of_every_resource_alone():
    assert sorted(parameters("R4", "Binary")) == sorted(ALL.split())


def test_what_is_linked_is_what_a_view_may_be_let_see():
    assert set(REQUIRED) == LINKED


def test_includes_are_the_references_and_revincludes_the_references_to_a_type():
    assert "Observation:subject" in includes("R4", "Observation")
    assert "Observation:device" not in includes("R4", "Observation")
    assert "ServiceRequest:instantiates-canonical" not in includes("R4", "ServiceRequest")
    assert "Observation:subject" in revincludes("R4", "Patient")
    assert "Provenance:target" in revincludes("R4", "Observation")
    assert "ResearchSubject:individual" not in revincludes("R5", "Patient")
    assert "ResearchSubject:subject" in revincludes("R5", "Patient")
    assert "Observation:subject" not in revincludes("R4", "Specimen")
