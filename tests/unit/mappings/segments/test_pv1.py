import pytest

from gateway.model.translation import Finding
from tests.translating import PID, SITE, bodies, body, findings, gaps, translate


def visit(event="A01", pv2=(), **fields):
    """An ADT with a PV1 of these fields."""
    values = {"f2": "I", "f19": "V7"} | fields
    line = "|".join(["PV1", *(values.get(f"f{number}", "") for number in range(1, 53))])
    return translate(PID, line, *pv2, kind=f"ADT^{event}")


@pytest.mark.parametrize(
    ("event", "fields", "status"),
    [
        ("A01", {}, "in-progress"),
        ("A03", {}, "finished"),
        ("A04", {}, "planned"),
        ("A11", {}, "cancelled"),
        ("A11", {"f45": "20260401"}, "cancelled"),
        ("A01", {"f45": "20260401"}, "finished"),
        ("A08", {}, "in-progress"),
        ("A08", {"f2": "P"}, "planned"),
        ("A08", {"f2": ""}, "unknown"),
        ("A08", {"f2": "Q"}, "unknown"),
    ],
)
def test_the_status_comes_from_event_discharge_and_class_in_that_order(event, fields, status):
    made = visit(event, **fields)

    assert body(made, "Encounter")["status"] == status
    assert [each.status for each in made.statements if each.type == "Encounter"] == [status]


@pytest.mark.parametrize(
    ("sent", "coding"),
    [
        ("I", ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IMP")),
        ("O", ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "AMB")),
        ("B", ("http://terminology.hl7.org/CodeSystem/v2-0004", "B")),
        ("DH", (SITE.scoped("table", "0004"), "DH")),
        ("", ("http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "UNK")),
    ],
)
def test_a_visit_always_has_a_class(sent, coding):
    made = body(visit(f2=sent), "Encounter")["class"]

    assert (made["system"], made["code"]) == coding


def test_a_class_that_is_not_of_the_table_is_a_gap():
    assert gaps(visit(f2="DH")) == [("table", "PV1-2", "DH")]


def test_the_visit_number_names_the_encounter_within_the_site():
    first, again = visit(f7="A1^Rossi"), visit("A08")
    other = visit(f19="V8")

    assert body(first, "Encounter")["id"] == body(again, "Encounter")["id"] != body(other, "Encounter")["id"]
    assert body(first, "Encounter")["identifier"] == [
        {
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "VN"}]},
            "system": SITE.scoped("identifier", "visit"),
            "value": "V7",
        }
    ]


def test_the_alternate_visit_number_names_it_where_there_is_no_other():
    assert body(visit(f19="", f50="X7"), "Encounter")["identifier"][0]["value"] == "X7"


def test_a_visit_without_a_number_is_no_encounter_and_said():
    made = visit(f19="")

    assert bodies(made, "Encounter") == []
    assert made.findings == (Finding("PV1-19", "a visit without a number: no Encounter is made of it"),)


def test_admission_and_discharge_are_the_period_and_the_search_date():
    made = visit("A03", f44="202604010830", f45="202604021200")

    assert body(made, "Encounter")["period"] == {
        "start": "2026-04-01T08:30:00+02:00",
        "end": "2026-04-02T12:00:00+02:00",
    }
    assert [each.date.isoformat() for each in made.statements if each.type == "Encounter"] == [
        "2026-04-01T06:30:00+00:00"
    ]


def test_a_discharge_before_the_admission_is_left_out():
    made = visit("A03", f44="20260402", f45="20260401")

    assert body(made, "Encounter")["period"] == {"start": "2026-04-02"}
    assert findings(made) == ["the period ends before it starts: its end is left out"]


def test_doctors_participate_as_resources_of_their_own():
    made = visit(f7="A1^Rossi^Mario~A2^Verdi", f8="A1^Rossi^Mario", f9="^Neri^Ugo")

    types = [each["type"][0]["coding"][0]["code"] for each in body(made, "Encounter")["participant"]]
    assert types == ["ATND", "ATND", "REF", "CON"]
    assert len(bodies(made, "Practitioner")) == 3


def test_the_stay_is_described():
    made = body(
        visit(
            f4="E", f5="P1^^^LAKE", f10="ONC", f14="7", f36="01", pv2=("PV2|||FEV^Febbre^L||||||||4||||||||||||||2",)
        ),
        "Encounter",
    )

    assert made["type"][0]["coding"][0]["display"] == "Emergency"
    assert made["serviceType"]["coding"][0]["system"] == SITE.scoped("table", "0069")
    assert made["hospitalization"].keys() == {"preAdmissionIdentifier", "admitSource", "dischargeDisposition"}
    assert made["reasonCode"][0]["coding"][0]["code"] == "FEV"
    assert (made["length"]["value"], made["length"]["code"]) == (4, "d")
    assert made["priority"]["coding"][0]["code"] == "UR"


def test_the_encounter_belongs_to_the_patient_of_the_message():
    made = visit()

    patient = body(made, "Patient")["id"]
    assert body(made, "Encounter")["subject"] == {"reference": f"Patient/{patient}"}
    assert [each.patient for each in made.statements if each.type == "Encounter"] == [patient]


@pytest.mark.parametrize(
    ("event", "fields", "tentative"), [("A03", {}, ()), ("A08", {}, ("status",)), ("A08", {"f45": "20260401"}, ())]
)
def test_an_update_never_reopens_a_visit_that_has_ended(event, fields, tentative):
    assert [each.tentative for each in visit(event, **fields).statements if each.type == "Encounter"] == [tentative]
