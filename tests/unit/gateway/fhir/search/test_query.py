from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from gateway.fhir.codec import encode
from gateway.fhir.r5 import to_r5
from gateway.fhir.search.parameters import parameters, types
from tests.searching import Resources, found, query

OBSERVATION = {
    "resourceType": "Observation",
    "id": "1",
    "meta": {
        "lastUpdated": "2024-03-01T10:00:00.123Z",
        "tag": [{"system": "t", "code": "One"}],
        "security": [{"system": "s", "code": "PSEUDED"}],
        "profile": ["http://a.example/P"],
    },
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
}


@pytest.mark.parametrize(
    ("name", "asked", "is_found"),
    [
        ("_id", "1", True),
        ("_id", "2", False),
        ("_lastUpdated", "ge2024-03-01", True),
        ("_lastUpdated", "gt2024-03-01T10:00:00.122Z", True),
        ("_lastUpdated", "lt2024-03-01T10:00:00.123Z", False),
        ("_tag", "t|One", True),
        ("_security", "PSEUDED", True),
        ("_profile", "http://a.example/P", True),
        ("status", "final,amended", True),
    ],
)
def test_every_resource_is_found_by_what_is_said_of_it(name, asked, is_found):
    assert found(OBSERVATION, (name, asked)) is is_found
    assert found(OBSERVATION, (name, asked), release="R5") is is_found


def test_nothing_asked_finds_everything():
    assert found(OBSERVATION)


# --- what a request may hold ------------------------------------------------------------------------------------------


def test_an_unknown_parameter_is_refused_and_left_out_when_lenient():
    with pytest.raises(RequestRefused) as refused:
        query("Observation", ("colour", "red"))
    pairs = [("colour", "red"), ("status", "final"), ("patient.x", "y"), ("A b", "c"), ("_count", "3")]
    lenient = query("Observation", *pairs, lenient=True)

    assert (refused.value.status, refused.value.code, refused.value.expression) == (400, "not-supported", ("colour",))
    assert lenient.ignored == ("colour", "patient.x", "parameter")
    assert lenient.pairs == (("status", "final"), ("_count", "3"))


@pytest.mark.parametrize("name", ["_text", "_content", "_filter", "_list", "_query", "_contained", "_score", "near"])
def test_what_is_not_done_is_refused(name):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", (name, "x"))

    assert refused.value.code == "not-supported"


def test_a_wrong_value_is_refused_even_when_lenient():
    for pair in (("date", "never"), ("code:above", "x"), ("_count", "-1")):
        with pytest.raises(RequestRefused):
            query("Observation", pair, lenient=True)


def test_parameters_of_any_request_are_no_part_of_the_search():
    asked = query("Observation", ("_format", "json"), ("status", "final"), ("_pretty", "true"), ("fhirVersion", "4.0"))

    assert asked.pairs == (("status", "final"),)


def test_the_page_is_kept_aside_from_the_link_self():
    asked = query("Observation", ("_page", "gAAAA-b_c="), ("status", "final"))

    assert asked.page == "gAAAA-b_c="
    assert asked.pairs == (("status", "final"),)


def test_a_name_that_is_none_is_not_repeated():
    with pytest.raises(RequestRefused) as refused:
        query("Observation", ("Anna <Rossi>", "x"))

    assert refused.value.expression == ()
    assert "Rossi" not in str(refused.value)


@given(
    type=st.sampled_from(["Observation", "Patient", "ResearchSubject", "Provenance"]),
    pairs=st.lists(
        st.tuples(
            st.one_of(
                st.text(max_size=20),
                st.sampled_from(
                    ["code", "date", "subject", "value-quantity", "_sort", "_include", "_has:Observation:patient:code",
                     "patient.name", "code:not", "code-value-quantity", "_elements", "_count", "identifier:of-type",
                     "target", "recorded", "birthdate", "name:exact", "_revinclude:iterate", "_profile"]
                ),
            ),
            st.text(max_size=20) | st.from_regex(r"[a-z0-9\\|$,:./-]{0,12}", fullmatch=True),
        ),
        max_size=3,
    ),
    release=st.sampled_from(["R4", "R5"]),
)  # fmt: skip
def test_whatever_is_asked_is_answered_or_refused(type, pairs, release):
    try:
        asked = query(type, *pairs, release=release)
    except RequestRefused as refused:
        event(refused.what)  # nothing but a refusal may come of it
        return

    asked.matches({"resourceType": type, "id": "1"}, Resources())
    asked.sort_key({"resourceType": type, "id": "1"})


def test_a_search_is_bounded():
    query("Observation", ("code", ",".join(map(str, range(500)))), *[("status", "final")] * 199)
    for pairs in ([("code", ",".join(map(str, range(501))))], [("status", "final")] * 201):
        with pytest.raises(RequestRefused) as refused:
            query("Observation", *pairs)
        assert refused.value.code == "too-costly"


# --- what narrows a search --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "may"),
    [
        ([("code", "718-7")], True),
        ([("code", "http://loinc.org|718-7,4548-4")], True),
        ([("code", "4548-4")], False),
        ([("code", "FINAL")], True),  # it stands there, if as something else
        ([("code:not", "4548-4")], True),
        ([("code", "http://loinc.org|")], True),
        ([("category", "laboratory"), ("code", "718-7")], False),
        ([("code-value-quantity", "4548-4$5")], False),
        ([("status", "registered")], True),  # R5 spells some of them otherwise
        ([("identifier", "x")], True),  # a view may write its own
    ],
)
def test_bytes_without_the_code_asked_for_can_be_left_aside(pairs, may):
    assert query("Observation", *pairs).may(encode(OBSERVATION)) is may


def test_escaped_bytes_are_never_left_aside():
    assert query("Observation", ("code", "718-7")).may(b'{"code":"71\\u0038-7"}')


@given(
    code=st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True),
    asked=st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True),
)
def test_what_matches_is_never_left_aside(code, asked):
    resource = {"resourceType": "Observation", "id": "1", "code": {"coding": [{"code": code}]}}
    search = query("Observation", ("code", asked))

    assert search.may(encode(resource)) or not search.matches(resource, Resources())


def test_every_type_can_be_searched_by_everything_it_is_said_to_have():
    values = {
        "token": "a", "string": "a", "date": "2024", "reference": "urn:x:y", "quantity": "1", "number": "1", "uri": "u",
    }  # fmt: skip
    for release in ("R4", "R5"):
        for type in types(release):
            for parameter in parameters(release, type).values():
                value = "$".join(values[part.type] for part in parameter.parts) or values[parameter.type]
                logical = {path.datatype for path in parameter.paths} <= {"boolean", "deceased"} and not parameter.parts
                asked = query(
                    type, (parameter.name, "true" if logical else value.replace("$a", "$true")), release=release
                )

                assert not asked.matches({"resourceType": type}, Resources()) or logical


# --- the view of R5 ---------------------------------------------------------------------------------------------------

SUBJECT = {
    "resourceType": "ResearchSubject",
    "id": "1",
    "identifier": [{"system": "s", "value": "001"}],
    "status": "on-study",
    "period": {"start": "2024-01-01"},
    "study": {"reference": "ResearchStudy/9"},
    "individual": {"reference": "Patient/7"},
}
STUDY = {
    "resourceType": "ResearchStudy",
    "id": "9",
    "status": "closed-to-accrual",
    "title": "MLD gene therapy",
    "period": {"start": "2020"},
    "category": [{"coding": [{"code": "interventional"}]}],
    "focus": [{"coding": [{"code": "MLD"}]}],
    "location": [{"coding": [{"code": "IT"}]}],
}


@pytest.mark.parametrize(
    ("resource", "name", "asked"),
    [
        (SUBJECT, "subject", "Patient/7"),
        (SUBJECT, "subject", "7"),
        (SUBJECT, "patient", "7"),
        (SUBJECT, "subject_state", "http://terminology.hl7.org/CodeSystem/research-subject-state|on-study"),
        (SUBJECT, "status", "active"),
        (SUBJECT, "study", "ResearchStudy/9"),
        (SUBJECT, "date", "ge2024"),
        (SUBJECT, "identifier", "s|001"),
        (STUDY, "status", "http://hl7.org/fhir/publication-status|active"),
        (STUDY, "progress-status-state-actual", "closed-to-accrual$true"),
        (STUDY, "progress-status-state-period", "closed-to-accrual$ge2020"),
        (STUDY, "classifier", "interventional"),
        (STUDY, "focus-code", "MLD"),
        (STUDY, "region", "IT"),
        (STUDY, "title", "mld"),
    ],
)
def test_the_view_of_r5_is_searched_by_the_names_of_r5(resource, name, asked):
    assert found(to_r5(resource), (name, asked), release="R5")


@pytest.mark.parametrize(
    ("type", "name", "release"),
    [
        ("ResearchSubject", "individual", "R5"), ("ResearchSubject", "subject", "R4"),
        ("ResearchStudy", "sponsor", "R5"), ("ResearchStudy", "principal-investigator", "R4"),
        ("ResearchStudy", "part-of", "R4"),
        ("ResearchStudy", "partof", "R5"),
    ],
)  # fmt: skip
def test_a_name_of_the_other_release_is_refused(type, name, release):
    with pytest.raises(RequestRefused):
        query(type, (name, "x"), release=release)
