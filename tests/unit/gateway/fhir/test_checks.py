import re
from copy import deepcopy
from decimal import Decimal

import pytest

from gateway.errors import InvalidResource
from gateway.fhir.checks import check, validate
from gateway.fhir.codes import required, resource_types
from tests.unit.gateway.fhir.examples_r4 import GOOD, UCUM, concept, good, quantity

GONE = object()


def changed(kind, path, value):
    """A copy of the example of a type with one place changed; ``GONE`` takes it away."""
    resource = deepcopy(good(kind))
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    at = resource
    for step in way:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return resource


def path_of(resource):
    with pytest.raises(InvalidResource) as caught:
        check(resource)
    return caught.value.path


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: resource["resourceType"])
def test_a_good_resource_passes_and_is_left_alone(resource):
    before = deepcopy(resource)
    validate(resource)
    assert resource == before


@pytest.mark.parametrize(
    ("kind", "path", "value", "wrong"),
    [
        # elements, cardinality, JSON types
        ("Observation", "colour", "red", "Observation.colour"),
        ("Observation", "code/coding/0/colour", "red", "Observation.code.coding[0].colour"),
        ("Observation", "status", GONE, "Observation.status"),
        ("Observation", "code", GONE, "Observation.code"),
        ("Observation", "component/0/code", GONE, "Observation.component[0].code"),
        ("Observation", "code", [concept("x")], "Observation.code"),
        ("Observation", "category", concept("x"), "Observation.category"),
        ("Observation", "subject", "Patient/1", "Observation.subject"),
        ("Observation", "category", [], "Observation.category"),
        ("Observation", "category", [None], "Observation.category[0]"),
        ("Observation", "category", [{}], "Observation.category[0]"),
        ("Observation", "subject", {}, "Observation.subject"),
        ("Observation", "subject", {"id": "x"}, "Observation.subject"),
        ("Observation", "subject", None, "Observation.subject"),
        ("Observation", "code/text", "", "Observation.code.text"),
        ("Observation", "code/text", " \t", "Observation.code.text"),
        ("Observation", "code/text", "a\x00b", "Observation.code.text"),
        ("Observation", "code/text", "a\ud800", "Observation.code.text"),
        ("Observation", "code/text", 1, "Observation.code.text"),
        ("Observation", "fhir_comments", ["x"], "Observation.fhir_comments"),
        ("Observation", "code/resourceType", "CodeableConcept", "Observation.code.resourceType"),
        # primitive types
        ("Observation", "id", "x" * 65, "Observation.id"),
        ("Observation", "id", "a_b", "Observation.id"),
        ("Observation", "code/id", "a b", "Observation.code.id"),
        ("Observation", "status", " final", "Observation.status"),
        ("Observation", "identifier/0/system", "urn: x", "Observation.identifier[0].system"),
        ("Observation", "effectiveDateTime", "2026-02-30", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2025-02-29", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-13", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "0000", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-01-01T08:30:00", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-01-01T08:30Z", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-01-01T24:00:00Z", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-01-01T08:30:00+15:00", "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", 20260101, "Observation.effectiveDateTime"),
        ("Observation", "effectiveDateTime", "2026-01-01\n", "Observation.effectiveDateTime"),
        ("Observation", "issued", "2026-01-01", "Observation.issued"),
        ("Patient", "birthDate", "2026-01-01T08:30:00Z", "Patient.birthDate"),
        ("Patient", "active", "true", "Patient.active"),
        ("Patient", "active", 1, "Patient.active"),
        ("Patient", "telecom/0/rank", 0, "Patient.telecom[0].rank"),
        ("Patient", "telecom/0/rank", True, "Patient.telecom[0].rank"),
        ("Patient", "telecom/0/rank", Decimal("1.0"), "Patient.telecom[0].rank"),
        ("Observation", "valueQuantity/value", "13.5", "Observation.valueQuantity.value"),
        ("Observation", "valueQuantity/value", 13.5, "Observation.valueQuantity.value"),
        ("Observation", "valueQuantity/value", True, "Observation.valueQuantity.value"),
        ("Observation", "valueQuantity/value", Decimal("NaN"), "Observation.valueQuantity.value"),
        ("DiagnosticReport", "presentedForm/0/data", "@@@", "DiagnosticReport.presentedForm[0].data"),
        ("DiagnosticReport", "presentedForm/0/data", "abc", "DiagnosticReport.presentedForm[0].data"),
        ("DiagnosticReport", "presentedForm/0/contentType", "pdf", "DiagnosticReport.presentedForm[0].contentType"),
        # choices
        ("Observation", "valueString", "x", "Observation"),
        ("Observation", "_valueString", {"extension": [{"url": "urn:x", "valueCode": "y"}]}, "Observation"),
        ("MedicationAdministration", "medicationCodeableConcept", GONE, "MedicationAdministration.medication[x]"),
        # code sets
        ("Observation", "status", "bogus", "Observation.status"),
        ("Patient", "gender", "X", "Patient.gender"),
        ("Encounter", "status", "completed", "Encounter.status"),
        ("ResearchSubject", "status", "active", "ResearchSubject.status"),
        ("Observation", "valueQuantity/comparator", "~", "Observation.valueQuantity.comparator"),
        ("Condition", "clinicalStatus", concept("gone"), "Condition.clinicalStatus"),
        ("Condition", "clinicalStatus", {"text": "active"}, "Condition.clinicalStatus"),
        # references
        ("Observation", "subject/reference", "Organization/1", "Observation.subject"),
        ("Observation", "subject/reference", "https://x.org/r4/Medication/1", "Observation.subject"),
        ("DiagnosticReport", "subject/reference", "Practitioner/1", "DiagnosticReport.subject"),
        ("Observation", "subject/reference", "Patient/a b", "Observation.subject.reference"),
        ("Observation", "subject/reference", "Patient", "Observation.subject.reference"),
        ("Observation", "subject/reference", "patient/1", "Observation.subject.reference"),
        ("Observation", "subject/reference", "Patient/1/_history", "Observation.subject.reference"),
        ("Observation", "subject/reference", "urn:uuid:1", "Observation.subject.reference"),
        ("Observation", "subject/reference", "Patient?identifier=1", "Observation.subject.reference"),
        ("Observation", "subject/reference", "NutritionProduct/1", "Observation.subject.reference"),
        ("Observation", "subject/type", "Group", "Observation.subject.type"),
        ("Observation", "focus", [{"reference": "SubscriptionTopic/1"}], "Observation.focus[0].reference"),
        ("Observation", "subject/reference", "#gone", "Observation.subject"),
        # extensions
        ("Patient", "extension/0/valueCode", "x", "Patient.extension[0]"),
        ("Patient", "extension/0", {"url": "urn:x"}, "Patient.extension[0]"),
        ("Patient", "extension/0", {"valueCode": "x"}, "Patient.extension[0].url"),
        (
            "Patient",
            "extension/0",
            {"url": "urn:x", "valueCodeableReference": {"concept": concept("x")}},
            "Patient.extension[0].valueCodeableReference",
        ),
        (
            "Patient",
            "extension/0",
            {"url": "urn:x", "valueRatioRange": {"denominator": quantity("1")}},
            "Patient.extension[0].valueRatioRange",
        ),
        # invariants
        ("Observation", "dataAbsentReason", concept("unknown"), "Observation"),
        ("Observation", "component/0/code", concept("718-7", "http://loinc.org"), "Observation"),
        ("Observation", "referenceRange/0", {"type": concept("normal")}, "Observation.referenceRange[0]"),
        ("Observation", "referenceRange/0/low/comparator", "<", "Observation.referenceRange[0]"),
        ("Observation", "valueQuantity/system", GONE, "Observation.valueQuantity"),
        ("Patient", "contact/0", {"gender": "female"}, "Patient.contact[0]"),
        ("Patient", "telecom/0/system", GONE, "Patient.telecom[0]"),
        ("Patient", "name/0/period", {"start": "2026", "end": "2025-12"}, "Patient.name[0].period"),
        ("Encounter", "period/end", "2026-03-01T08:59:59+01:00", "Encounter.period"),
        ("DiagnosticReport", "presentedForm/0/contentType", GONE, "DiagnosticReport.presentedForm[0]"),
        ("Organization", "telecom/0/use", "home", "Organization"),
        ("AllergyIntolerance", "clinicalStatus", GONE, "AllergyIntolerance"),
        ("Condition", "abatementDateTime", "2026", "Condition"),
        ("Task", "lastModified", "2026-02-28", "Task"),
    ],
)
def test_each_rule_names_the_place_where_it_is_broken(kind, path, value, wrong):
    assert path_of(changed(kind, path, value)) == wrong


def test_consent_needs_a_policy():
    consent = {key: value for key, value in good("Consent").items() if key not in ("policy", "policyRule")}
    assert path_of(consent) == "Consent"


def test_a_range_is_in_order_where_the_units_are_the_same():
    ranged = {key: value for key, value in good("Observation").items() if key != "valueQuantity"}
    assert (
        path_of({**ranged, "valueRange": {"low": quantity("2"), "high": quantity("1.9")}}) == "Observation.valueRange"
    )
    check({**ranged, "valueRange": {"low": quantity("2", "g"), "high": quantity("1.9", "kg")}})
    assert path_of({**ranged, "valueRatio": {"numerator": quantity("2")}}) == "Observation.valueRatio"


@pytest.mark.parametrize(
    "resource",
    [
        {},
        [],
        None,
        "Patient",
        {"resourceType": "Bogus"},
        {"resourceType": 7},
        {"resourceType": ["Patient"]},
        {"resourceType": None},
        {"resourceType": "patient"},
        {"resourceType": "SubscriptionTopic"},
        {"resourceType": "Resource"},
        {"resourceType": "../Patient"},
    ],
)
def test_what_is_no_resource_of_r4_is_refused(resource):
    with pytest.raises(InvalidResource):
        check(resource)


def test_every_resource_type_of_r4_but_those_r4b_removed_can_be_checked():
    known = set()
    for kind in resource_types():
        try:
            check({"resourceType": kind, "bogus": 1})
        except InvalidResource as error:
            if error.path == f"{kind}.bogus":
                known.add(kind)
    assert len(known) >= 125
    assert all(re.match("Medicinal|Substance|Effect|Risk", kind) for kind in resource_types() - known)


def contained(inner, literal="#x"):
    return {**good("Observation"), "contained": [inner], "subject": {"reference": literal}}


PATIENT = {"resourceType": "Patient", "id": "x", "gender": "male"}


@pytest.mark.parametrize(
    ("resource", "wrong"),
    [
        (contained({**PATIENT, "gender": "M"}), "Observation.contained[0].gender"),
        (contained({**PATIENT, "id": "y"}), "Observation.subject"),
        (contained(PATIENT, "Patient/1"), "Observation.contained[0]"),
        (contained({**PATIENT, "contained": [PATIENT]}), "Observation.contained[0].contained"),
        (contained({**PATIENT, "meta": {"versionId": "1"}}), "Observation.contained[0].meta.versionId"),
        (contained({"resourceType": "Patient", "gender": "male"}), "Observation.contained[0].id"),
        (contained({"resourceType": "Medication", "id": "x"}), "Observation.subject"),
        (contained({"resourceType": "Nothing", "id": "x"}), "Observation.contained[0].resourceType"),
        (contained({"id": "x"}), "Observation.contained[0].resourceType"),
    ],
)
def test_what_is_contained_is_checked_too(resource, wrong):
    assert path_of(resource) == wrong


def test_what_is_contained_and_referred_to_passes():
    check(contained(PATIENT))


def test_an_extension_may_stand_for_a_required_or_a_listed_value():
    absent = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
    }
    observation = {key: value for key, value in good("Observation").items() if key != "status"}
    check({**observation, "_status": absent})
    check({**good("Patient"), "name": [{"given": ["Ada", None], "_given": [None, absent]}]})
    check({**good("Patient"), "name": [{"_given": [absent, None], "given": [None, "Ada"], "family": "Ferri"}]})


@pytest.mark.parametrize(
    "name",
    [
        {"given": ["Ada", None]},
        {"given": ["Ada", None], "_given": [{"id": "x", "extension": [{"url": "urn:x", "valueCode": "y"}]}, None]},
        {"given": ["Ada"], "_given": [None]},
        {"given": ["Ada"], "_given": [None, {"extension": [{"url": "urn:x", "valueCode": "y"}]}]},
        {"given": [None]},
        {"_given": [{}]},
        {"family": "x", "_family": {"extension": []}},
        {"family": "x", "_family": "y"},
    ],
)
def test_a_null_wants_its_extension_and_an_extension_its_place(name):
    assert path_of({**good("Patient"), "name": [name]}).startswith("Patient.name[0]")


@pytest.mark.parametrize(
    ("kind", "entry", "more", "wrong"),
    [
        ("transaction", {"resource": PATIENT}, {}, "Bundle"),
        ("collection", {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/x"}}, {}, "Bundle"),
        ("history", {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/x"}}, {}, "Bundle"),
        ("collection", {"resource": PATIENT, "response": {"status": "200"}}, {}, "Bundle"),
        ("collection", {"resource": PATIENT, "search": {"mode": "match"}}, {}, "Bundle"),
        ("collection", {"resource": PATIENT}, {"total": 1}, "Bundle"),
        ("collection", {"fullUrl": "urn:uuid:x"}, {}, "Bundle.entry[0]"),
        ("collection", {"fullUrl": "http://x/Patient/1/_history/1", "resource": PATIENT}, {}, "Bundle.entry[0]"),
        ("document", {"resource": PATIENT}, {}, "Bundle"),
        ("message", {"resource": PATIENT}, {}, "Bundle"),
        ("collection", {"resource": {**PATIENT, "gender": "M"}}, {}, "Bundle.entry[0].resource.gender"),
        ("collection", {"resource": {"id": "x"}}, {}, "Bundle.entry[0].resource.resourceType"),
        ("bogus", {"resource": PATIENT}, {}, "Bundle.type"),
    ],
)
def test_a_bundle_is_held_to_its_type(kind, entry, more, wrong):
    assert path_of({"resourceType": "Bundle", "type": kind, **more, "entry": [entry]}) == wrong


def test_a_bundle_names_each_resource_once():
    entry = {"fullUrl": "http://x/Patient/1", "resource": PATIENT}
    assert path_of({"resourceType": "Bundle", "type": "collection", "entry": [entry, entry]}) == "Bundle"


def test_a_search_is_a_reference_in_a_transaction_only():
    observation = changed("Observation", "subject/reference", "Patient?identifier=urn:x%7C1")
    put = {"method": "PUT", "url": "Observation/1"}

    check({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": observation, "request": put}]})
    check(observation, in_transaction=True)
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": observation, "request": put}]}
    assert path_of(batch) == "Bundle.entry[0].resource.subject.reference"


def test_an_error_names_no_value():
    with pytest.raises(InvalidResource) as caught:
        check(changed("Patient", "gender", "Ferri"))
    assert "Ferri" not in str(caught.value)
    with pytest.raises(InvalidResource) as caught:
        validate(changed("Patient", "birthDate", "Ferri"))
    assert "Ferri" not in str(caught.value)


def test_deep_nesting_is_an_error_of_the_resource():
    extension = {"url": "urn:x", "valueCode": "x"}
    for _ in range(3000):
        extension = {"url": "urn:x", "extension": [extension]}
    with pytest.raises(InvalidResource, match="nested"):
        validate({**good("Patient"), "extension": [extension]})


def test_the_required_codes_are_the_specifications():
    assert {code for _, code in required("Observation.status")} == {
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
    }  # fmt: skip
    assert required("Observation.valueString") is None
    assert quantity("1")["system"] == UCUM
