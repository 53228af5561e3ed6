import pytest

from gateway.errors import UnmappedCode
from mappings.datatypes.cwe import concept, cwe_concept, site_concept, system_uri
from mappings.rules import coded
from tests.translating import SITE, context, field, gaps


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("LN", "http://loinc.org"),
        ("SCT", "http://snomed.info/sct"),
        ("HL70078", "http://terminology.hl7.org/CodeSystem/v2-0078"),
        ("2.999.7", "urn:oid:2.999.7"),
        ("http://codes.example/x", "http://codes.example/x"),
        ("LIS", "https://codes.lakeside.example"),
        ("L", SITE.scoped("codes", "L")),
        ("99 ABC", SITE.scoped("codes", "99 ABC")),
        ("", ""),
    ],
)
def test_a_coding_system_has_one_uri_and_a_local_one_the_sites(name, uri):
    assert system_uri(name, context(coding_systems={"LIS": "https://codes.lakeside.example"})) == uri


def test_every_coding_of_a_field_travels_in_the_senders_order():
    made = cwe_concept(field("HB^Emoglobina^L^718-7^Hemoglobin^LN^1^2.77^Hb"), context())

    assert made == {
        "coding": [
            {"system": SITE.scoped("codes", "L"), "version": "1", "code": "HB", "display": "Emoglobina"},
            {"system": "http://loinc.org", "version": "2.77", "code": "718-7", "display": "Hemoglobin"},
        ],
        "text": "Hb",
    }


@pytest.mark.parametrize(
    ("sent", "made"),
    [("^Febbre", {"text": "Febbre"}), ("F", {"coding": [{"code": "F"}]}), ("^^L", None)],
)
def test_text_without_a_code_is_the_text(sent, made):
    assert cwe_concept(field(sent), context()) == made


def test_a_code_of_the_table_becomes_the_tables():
    made = context()

    assert concept("hl70002_marital_status")(field("M^Coniugata"), made)["coding"] == [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"}
    ]
    assert not made.gaps


@pytest.mark.parametrize(
    ("sent", "system"),
    [
        ("Z", SITE.scoped("table", "0002")),
        ("M^Coniugata^L", SITE.scoped("codes", "L")),
        ("Z^^HL70002", SITE.scoped("table", "0002")),
    ],
)
def test_a_code_that_the_table_does_not_know_travels_as_it_came_and_is_a_gap(sent, system):
    made = context()

    (coding,) = concept("hl70002_marital_status")(field(sent), made)["coding"]

    assert (coding["system"], coding["code"]) == (system, sent[0])
    assert gaps(made) == [("table", "PID-3", sent[0])]


def test_a_user_defined_table_is_the_sites_and_no_gap():
    made = context()

    assert site_concept("0069")(field("CAR"), made) == {
        "coding": [{"system": SITE.scoped("table", "0069"), "code": "CAR"}]
    }
    assert not made.gaps


def test_a_required_code_that_is_not_mapped_fails_naming_field_and_table():
    with pytest.raises(UnmappedCode, match=r"PID-3\.1: table 0001 has no FHIR code for 'X'"):
        coded("hl70001_administrative_gender")(field("X"), context())


def test_the_sites_default_for_a_table_comes_before_unknown():
    made = context(defaults={"0001": "other"})

    assert coded("hl70001_administrative_gender", unknown="unknown")(field("X"), made) == "other"
    assert coded("hl70001_administrative_gender", unknown="unknown")(field("X"), context()) == "unknown"
    assert gaps(made) == [("table", "PID-3", "X")]


def test_a_code_that_an_hl7_table_does_not_have_is_the_sites_and_a_gap():
    made = context()

    assert cwe_concept(field("EMR^^HL70069"), made)["coding"][0]["system"] == SITE.scoped("table", "0069")
    assert gaps(made) == [("table", "PID-3", "EMR")]
    assert cwe_concept(field("CAR^^HL70069"), context())["coding"][0]["system"].endswith("/v2-0069")
