import gc
import hashlib
import pickle
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.fhir.checks import validate
from gateway.fhir.codec import decode
from gateway.hl7v2.peek import content_digest
from gateway.model.site import Feed
from gateway.model.translation import Finding
from mappings.messages import RULES
from mappings.translator import SiteTranslator
from tests.translating import PID, RECEIVED, SITE, bodies, body, text, translate

RICH = (
    "EVN||20260401090000||||20260401085500",
    "PID|1||0042^^^LAKE^MR~N1^^^&2.999.1&ISO^NI||Rossi^Ada^^^^^L||20190314|F|||"
    "Via Roma 1^^Milano^MI^20100^ITA^H||02 1^PRN^PH||ITA|S",
    "PD1|||Studio Verdi^^9|D1^Bianchi^Anna",
    "PV1|1|I||R|||A1^Rossi^Mario|||ONC|||||||||V7" + "|" * 25 + "202604010830",
    "PV2|||FEV^Febbre^L",
)


def test_everything_stated_is_valid_r4():
    made = translate(*RICH)

    assert {each.type for each in made.statements} == {
        "Patient",
        "Encounter",
        "Organization",
        "Practitioner",
        "Provenance",
    }
    for statement in made.statements:
        validate(decode(statement.body))


def test_translating_twice_on_two_machines_gives_the_same():
    assert translate(*RICH) == translate(*RICH)


@pytest.mark.parametrize(
    "in_order",
    [
        ("202510260159", "202510260230+0200", "202510260210+0100", "202510260300"),
        ("202503300159", "202503300300", "202503300301"),
        ("202402282359", "202402290000", "202402292359", "202403010000"),
    ],
    ids=["clocks go back", "clocks go forward", "leap day"],
)
def test_messages_are_ordered_by_the_moment_msh_7_names(in_order):
    moments = [translate(*RICH, sent=sent).sent_at for sent in in_order]

    assert None not in moments
    assert sorted(set(moments)) == moments


def test_another_id_key_gives_ids_that_cannot_be_matched():
    first = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32)
    second = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"j" * 32)
    raw = text(*RICH).encode()

    ids = [{each.id for each in one.translate(raw, "ehr", RECEIVED).statements} for one in (first, second)]
    assert ids[0].isdisjoint(ids[1])


def test_a_message_says_the_same_whatever_was_translated_before_it():
    translator = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32)
    raws = [text(*RICH).encode(), text(PID, "PV1|1|I|||||A1|||||||||||||V9").encode()]

    fresh = [translate_alone(raw) for raw in raws]
    assert [translator.translate(raw, "ehr", RECEIVED) for raw in (*raws, *raws)] == [*fresh, *fresh]


def translate_alone(raw):
    return SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32).translate(
        raw, "ehr", RECEIVED
    )


def test_provenance_names_the_message_by_digest_and_control_id_and_targets_everything():
    made = translate(*RICH)
    provenance = body(made, "Provenance")

    others = {
        f"{each.type}/{each.id}" for each in made.statements if each.type in {"Patient", "Encounter", "Practitioner"}
    }
    assert others <= {each["reference"] for each in provenance["target"]}
    assert provenance["recorded"] == "2026-04-01T08:00:00Z"
    assert provenance["occurredDateTime"] == "2026-04-01T08:55:00+02:00"
    identifiers = [each["what"]["identifier"]["value"] for each in provenance["entity"]]
    assert identifiers == ["M1", content_digest(text(*RICH).encode()).hex()]
    assert len(identifiers[1]) == len(hashlib.sha256().hexdigest())
    assert [each["type"]["coding"][0]["code"] for each in provenance["agent"]] == ["author", "assembler"]
    assert [each.patient for each in made.statements if each.type == "Provenance"] == [body(made, "Patient")["id"]]


def test_the_author_is_the_sites_own_organisation_where_it_is_declared():
    made = translate(PID, site=replace(SITE, organization=("https://registry.example/org", "77")))

    author = body(made, "Provenance")["agent"][0]["who"]["reference"]
    (organization,) = bodies(made, "Organization")
    assert author == f"Organization/{organization['id']}"
    assert organization["identifier"] == [{"system": "https://registry.example/org", "value": "77"}]


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("20260401090000", datetime(2026, 4, 1, 7, tzinfo=UTC)),
        ("202604010900+0530", datetime(2026, 4, 1, 3, 30, tzinfo=UTC)),
        ("20260401", None),
        ("", None),
    ],
)
def test_the_time_of_sending_is_utc(sent, moment):
    assert translate(PID, sent=sent).sent_at == moment


def test_the_feeds_rank_for_each_type_travels_with_the_statement():
    made = translate(*RICH, site=replace(SITE, ranks={"ehr": {"Patient": 10}}))

    assert {each.type: each.rank for each in made.statements}["Patient"] == 10
    assert {each.type: each.rank for each in made.statements}["Encounter"] == 0


@pytest.mark.parametrize("kind", ["ADT^A99", "MDM^T02", "ZZZ^Z01", "ACK"])
def test_an_event_that_is_not_translated_is_not_handled_and_no_failure(kind):
    made = translate(PID, kind=kind)

    assert (made.handled, made.failure, made.statements) == (False, None, ())


@pytest.mark.parametrize("raw", [b"", b"hello", b"MSH", b"MSH|^~\\&|A", b"\x00\xff", b"PID|1"])
def test_what_is_no_message_comes_back_as_a_failure(raw):
    made = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32).translate(
        raw, "ehr", RECEIVED
    )

    assert made.failure is not None
    assert made.statements == ()


@pytest.mark.parametrize(("kind", "event"), sorted(RULES))
def test_a_header_alone_fails_naming_what_is_missing(kind, event):
    made = translate(kind=f"{kind}^{event}")

    assert made.failure is not None
    assert made.failure.place


def test_a_programming_error_is_not_swallowed(monkeypatch):
    monkeypatch.setitem(RULES, ("ADT", "A01"), lambda message, context: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        translate(PID)


def test_what_the_characters_needed_is_a_finding():
    raw = text(PID.replace("Rossi", "D'Àngeli")).encode("iso8859-1")
    translator = SiteTranslator(
        {SITE.id: replace(SITE, charset="8859/1")}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32
    )

    assert body(translator.translate(raw, "ehr", RECEIVED), "Patient")["name"][0]["family"] == "D'Àngeli"
    assert any(each.place.startswith("MSH-18") for each in translate(PID.replace("Rossi", "D'Àngeli")).findings)


def test_valued_fields_that_nobody_knows_are_listed_once():
    made = translate(PID, "ZTR|MPS-02|0113", "ZTR|MPS-03", "NK1|1|Rossi^Ugo")

    assert made.not_mapped == ("ZTR-1", "ZTR-2")


def test_a_trace_says_which_field_each_element_came_from():
    made = translate(PID, trace=True)

    patient = f"Patient/{body(made, 'Patient')['id']}"
    assert (patient, "Patient.birthDate", "PID-7") in {
        (each.resource, each.element, each.source) for each in made.trace
    }
    assert translate(PID).trace == ()


def test_a_gap_in_a_person_seen_before_is_listed_at_its_own_place():
    translator = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32)
    doctor = "A1^Rossi^Mario^^^^^^ELSEWHERE"
    first = translator.translate(text(PID, "PV1|1|I|||||" + doctor + "||||||||||||V9").encode(), "ehr", RECEIVED)
    second = translator.translate(text(PID, "PV1|1|I||||||" + doctor + "|||||||||||V9").encode(), "ehr", RECEIVED)

    assert [[gap.place for gap in each.gaps] for each in (first, second)] == [["PV1-7"], ["PV1-8"]]


def test_the_arguments_and_the_result_cross_a_process_boundary():
    made = translate(*RICH)

    assert pickle.loads(pickle.dumps(made)) == made
    assert pickle.loads(pickle.dumps(SITE)) == SITE


def test_a_finding_names_the_place_and_no_value():
    assert translate("PID|1||0042^^^LAKE^MR||Rossi^Ada||14/03/19").findings == (
        Finding("PID-7", "not a date of HL7 v2: left out"),
    )


def test_a_site_s_cache_does_not_grow_with_what_a_sender_makes_up(monkeypatch):
    monkeypatch.setattr("mappings.translator.CACHE_BYTES", 20_000)
    translator = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32)

    def memory_after(count: int) -> int:
        for number in range(count):
            codes = "|".join((f"OBX|1|NM|{number}-{'X' * 2000}^Made up^L", "", "1", "mg", "1-2", "", "", "", "F"))
            made = translator.translate(text(PID, "OBR|1||L1|CBC", codes, kind="ORU^R01").encode(), "ehr", RECEIVED)
            assert made.failure is None
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    first = memory_after(60)
    assert memory_after(300) < first + 500_000
    tracemalloc.stop()


def test_who_answers_for_a_result_is_stated_in_every_message_and_what_is_not_mapped_of_it_is_listed():
    translator = SiteTranslator({SITE.id: SITE}, {"ehr": Feed(id="ehr", site=SITE.id)}, b"k" * 32)

    def said(doctor: str):
        obx = "OBX|1|NM|718-7^Hb^LN||13.5|g/dL|||||F|||20260312||" + doctor
        made = translator.translate(text(PID, "OBR|1||L1|CBC", obx, kind="ORU^R01").encode(), "ehr", RECEIVED)
        (performer,) = body(made, "Observation")["performer"]
        (person,) = bodies(made, "Practitioner")
        assert performer == {"reference": f"Practitioner/{person['id']}"}
        return person["name"], [gap.place for gap in made.gaps if gap.kind == "authority"]

    rossi, verdi = "A1^Rossi^Mario^^^^^^ELSEWHERE", "A2^Verdi^Ugo"
    assert said(rossi) == said(rossi) == ([{"family": "Rossi", "given": ["Mario"]}], ["OBX-16"])
    assert said(verdi) == ([{"family": "Verdi", "given": ["Ugo"]}], [])
    assert said(rossi) == ([{"family": "Rossi", "given": ["Mario"]}], ["OBX-16"])
