from dataclasses import replace

import pytest

from gateway.model.translation import Failure, Gap
from tests.translating import MRN, NATIONAL, PID, SITE, bodies, body, findings, gaps, translate

EXTENSION = "http://hl7.org/fhir/StructureDefinition/"


def pid(*, kind="ADT^A28", **fields):
    """A PID of these fields (``f8="F"``) beside one good identifier."""
    values = {"f3": "0042^^^LAKE^MR", "f5": "Rossi^Ada"} | fields
    line = "|".join(["PID", *(values.get(f"f{number}", "") for number in range(1, 41))])
    return translate(line, kind=kind)


def test_a_patient_has_every_identifier_with_its_system():
    made = body(pid(f3="0042^^^LAKE^MR~RSSDAA19C54Z99XQ^^^&2.999.1&ISO^NI~7^^^OTHER^PI"), "Patient")

    assert [(each["system"], each["value"]) for each in made["identifier"]] == [
        (MRN, "0042"),
        (NATIONAL, "RSSDAA19C54Z99XQ"),
        (SITE.scoped("identifier", "OTHER"), "7"),
    ]


def test_the_patient_is_named_by_the_sites_best_identifier_wherever_it_stands():
    first = body(pid(f3="0042^^^LAKE^MR~N1^^^&2.999.1&ISO^NI"), "Patient")
    second = body(pid(f3="N1^^^&2.999.1&ISO^NI"), "Patient")

    assert first["id"] == second["id"]


def test_an_identifier_of_an_authority_that_does_not_join_names_another_patient_at_another_site():
    here = translate("PID|1||5^^^WARD^PI||Rossi^Ada", kind="ADT^A28")
    there = translate("PID|1||5^^^WARD^PI||Rossi^Ada", kind="ADT^A28", site=other_site())
    shared_here = translate("PID|1||5^^^LAKE^MR||Rossi^Ada", kind="ADT^A28")
    shared_there = translate("PID|1||5^^^LAKE^MR||Rossi^Ada", kind="ADT^A28", site=other_site())

    assert body(here, "Patient")["id"] != body(there, "Patient")["id"]
    assert body(shared_here, "Patient")["id"] == body(shared_there, "Patient")["id"]


def other_site():
    from dataclasses import replace

    return replace(SITE, id="hillside", name="Hillside Hospital")


def test_every_identifier_is_a_key_and_only_declared_authorities_join():
    made = pid(f3="0042^^^LAKE^MR~5^^^WARD^PI~7^^^OTHER^PI")

    assert [(key.value, key.joins) for key in made.keys] == [("0042", True), ("5", False), ("7", False)]
    assert {key.patient for key in made.keys} == {body(made, "Patient")["id"]}


@pytest.mark.parametrize("sent", ["", "^^^", '""', "^^^LAKE^MR", "123456789^^^^SS"])
def test_a_patient_without_a_usable_identifier_is_never_guessed(sent):
    made = pid(f3=sent)

    assert (made.failure.place, made.failure.code) == ("PID-3", "101")
    assert made.statements == ()


def test_the_identifiers_of_version_2_3_stand_in_three_fields():
    made = body(pid(f2="EXT", f3="INT", f4="ALT"), "Patient")

    assert [each["value"] for each in made["identifier"]] == ["EXT", "INT", "ALT"]
    assert len({each["system"] for each in made["identifier"]}) == 3
    assert made["id"] == body(pid(f3="INT"), "Patient")["id"]


def test_a_number_that_must_not_be_stored_is_nowhere_in_what_is_stated():
    made = pid(f3="0042^^^LAKE^MR~123-45-6789^^^^SS", f19="123-45-6789")

    assert b"123-45-6789" not in b"".join(each.body for each in made.statements)
    assert "123-45-6789" not in repr(made)


@pytest.mark.parametrize(
    ("sent", "gender"), [("F", "female"), ("M", "male"), ("A", "other"), ("U", "unknown"), ("X", "unknown")]
)
def test_sex_is_of_table_0001(sent, gender):
    assert body(pid(f8=sent), "Patient")["gender"] == gender


def test_a_sex_that_is_not_of_the_table_is_unknown_and_a_gap():
    made = pid(f8="X")

    assert made.gaps == (Gap("table", "PID-8", "X", "http://terminology.hl7.org/CodeSystem/v2-0001"),)


def test_the_county_completes_the_only_address():
    made = body(pid(f11="Via Roma 1^^Milano", f12="MI"), "Patient")

    assert made["address"] == [{"line": ["Via Roma 1"], "city": "Milano", "district": "MI"}]


@pytest.mark.parametrize(
    ("sent", "coding"),
    [
        ("ITA", {"system": "urn:ietf:bcp:47", "code": "it", "display": "Italian"}),
        ("en-US", {"system": "urn:ietf:bcp:47", "code": "en-US"}),
    ],
)
def test_a_language_is_of_bcp_47(sent, coding):
    assert body(pid(f15=sent), "Patient")["communication"] == [{"language": {"coding": [coding]}}]


def test_another_language_travels_as_text_and_is_a_gap():
    made = pid(f15="X9^Ladino")

    assert body(made, "Patient")["communication"] == [{"language": {"text": "Ladino"}}]
    assert gaps(made) == [("table", "PID-15", "X9")]


@pytest.mark.parametrize(
    ("fields", "elements"),
    [
        ({"f24": "Y", "f25": "2"}, {"multipleBirthInteger": 2}),
        ({"f24": "Y"}, {"multipleBirthBoolean": True}),
        ({"f29": "20260101", "f30": "Y"}, {"deceasedDateTime": "2026-01-01"}),
        ({"f30": "N"}, {"deceasedBoolean": False}),
        ({"f29": "unknown"}, {"deceasedBoolean": True}),
    ],
)
def test_of_two_fields_for_one_element_the_better_one_counts(fields, elements):
    made = body(pid(**fields), "Patient")

    assert {name: value for name, value in made.items() if name.startswith(("multiple", "deceased"))} == elements


def test_a_date_of_death_ousts_what_was_said_before_without_one():
    (statement,) = [each for each in pid(f29="20260101").statements if each.type == "Patient"]

    assert statement.removes == ("deceasedBoolean",)


@pytest.mark.parametrize(
    ("fields", "removed"),
    [
        ({"f7": '""'}, ("birthDate",)),
        ({"f13": '""'}, ("telecom",)),
        ({"f11": '""'}, ("address",)),
        ({"f29": '""', "f30": '""'}, ("deceasedBoolean", "deceasedDateTime")),
        ({"f13": '""', "f14": "02 1234"}, ()),
    ],
)
def test_what_the_sender_nulled_is_removed_unless_another_field_says_it(fields, removed):
    (statement,) = [each for each in pid(**fields).statements if each.type == "Patient"]

    assert statement.removes == removed


def test_birth_place_and_nationality_are_extensions():
    made = body(pid(f23="Milano", f28="ITA"), "Patient")

    assert [each["url"] for each in made["extension"]] == [
        f"{EXTENSION}patient-birthPlace",
        f"{EXTENSION}patient-nationality",
    ]


def test_what_no_trial_may_receive_is_not_stated():
    made = pid(f6="Bianchi", f10="2106-3", f17="CAT", f21="M1", f22="H")

    stated = b"".join(each.body for each in made.statements)
    assert not any(word in stated for word in (b"Bianchi", b"2106-3", b"CAT"))
    assert made.not_mapped == ()


def test_a_birth_date_of_another_calendar_holds_the_patient():
    made = pid(f7="14430915")

    assert [each.held for each in made.statements if each.type == "Patient"] == ["implausible birth date"]
    assert findings(made) == ["implausible birth date"]


def test_the_general_practitioner_is_a_resource_of_its_own():
    made = translate(PID, "PD1|||Studio Verdi^^9|D1^Bianchi^Anna", kind="ADT^A31")

    kinds = [each["reference"].partition("/")[0] for each in body(made, "Patient")["generalPractitioner"]]
    assert kinds == ["Organization", "Practitioner"]
    assert bodies(made, "Practitioner")[0]["name"] == [{"family": "Bianchi", "given": ["Anna"]}]
    assert all(each.patient == "" for each in made.statements if each.type in {"Organization", "Practitioner"})


UNNAMED = "PID|1||||Gomes^Ana||20200115|F"


def test_a_patient_without_an_identifier_is_never_matched_by_name():
    refused = translate(UNNAMED)

    assert str(refused.failure) == str(Failure("PID-3", "no identifier that can name the patient", "101"))


def test_a_site_may_keep_such_a_message_on_a_patient_of_its_own_who_is_held():
    site = replace(SITE, unidentified="hold")

    (first,) = [each for each in translate(UNNAMED, site=site).statements if each.type == "Patient"]
    (other,) = [
        each for each in translate(UNNAMED, site=site, sent="20260402090000").statements if each.type == "Patient"
    ]

    assert first.held == "no identifier names the patient"
    assert first.id != other.id
