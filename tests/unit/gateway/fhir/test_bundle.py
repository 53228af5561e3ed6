from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.errors import InvalidResource
from gateway.fhir import bundle
from gateway.fhir.bundle import Change
from gateway.fhir.checks import check, validate
from tests.unit.gateway.fhir.examples_r4 import GOOD, ID, good

WITH_ID = [each for each in GOOD if "id" in each]
NOON = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC)


def test_a_transaction_puts_each_resource_under_its_own_id_and_deletes():
    made = bundle.transaction([*map(bundle.put, WITH_ID), bundle.delete("Observation", "gone")], id_="d-1", at=NOON)

    validate(made)
    first, last = made["entry"][0], made["entry"][-1]
    assert first["fullUrl"] == f"urn:uuid:{ID}01"
    assert first["request"] == {"method": "PUT", "url": f"Patient/{ID}01"}
    assert last == {"request": {"method": "DELETE", "url": "Observation/gone"}}
    assert made["timestamp"] == "2026-03-01T12:00:00.005Z"


@pytest.mark.parametrize("made", [bundle.transaction([]), bundle.collection([]), bundle.history([]), bundle.batch([])])
def test_an_empty_bundle_has_no_empty_list(made):
    assert "entry" not in made
    validate(made)


def test_a_receiver_with_its_own_ids_is_written_to_by_identifier():
    known = {f"{each['resourceType']}/{each['id']}": ("urn:oid:1.2.3", each["id"]) for each in WITH_ID}
    known[f"Group/{ID}01"] = ("http://example.org/groups", "A&B|1")
    observation, study = good("Observation"), good("ResearchStudy")
    sent = [good("Patient"), observation, study]

    made = bundle.transaction(bundle.conditional_puts(sent, lambda reference: known.get(reference, ("urn:x:y", "1"))))

    validate(made)
    entry = made["entry"][1]
    assert entry["request"]["url"] == f"Observation?identifier=urn:oid:1.2.3%7C{ID}02"
    assert "id" not in entry["resource"]
    assert observation["id"] == f"{ID}02"
    assert entry["resource"]["subject"] == {"reference": made["entry"][0]["fullUrl"]}
    assert entry["resource"]["specimen"] == {"reference": "Specimen?identifier=urn:x:y%7C1"}
    assert made["entry"][2]["resource"]["enrollment"] == [
        {"reference": "Group?identifier=http://example.org/groups%7CA%26B%7C1"}
    ]


def test_what_the_receiver_cannot_find_is_not_sent():
    with pytest.raises(InvalidResource) as caught:
        bundle.conditional_puts([good("Patient")], lambda _: None)
    assert ID not in str(caught.value)


def test_a_history_tells_what_happened_to_each():
    patient = good("Patient")
    made = bundle.history(
        [
            Change("Patient", patient["id"], "created", patient, 1, NOON),
            Change("Patient", patient["id"], "updated", patient, 2, NOON),
            Change("Observation", "7", "deleted", version=3),
        ],
        base="https://example.org/fhir/r4/",
        total=3,
        links={"self": "https://example.org/fhir/r4/_history"},
    )

    validate(made)
    assert [(entry["request"]["method"], entry["response"]["status"]) for entry in made["entry"]] == [
        ("PUT", "201 Created"),
        ("PUT", "200 OK"),
        ("DELETE", "204 No Content"),
    ]
    assert made["entry"][1]["response"]["etag"] == 'W/"2"'
    assert made["entry"][2]["fullUrl"] == "https://example.org/fhir/r4/Observation/7"
    assert list(made) == ["resourceType", "type", "total", "link", "entry"]


def test_a_page_of_a_search_tells_matches_from_included():
    made = bundle.searchset(
        [good("Observation")],
        base="https://example.org/r4",
        included=[good("Patient")],
        total=1,
        links={"self": "https://x"},
    )

    validate(made)
    assert [entry["search"]["mode"] for entry in made["entry"]] == ["match", "include"]


def test_a_collection_may_hold_a_resource_without_id():
    made = bundle.collection([good("OperationOutcome"), good("Patient")])
    check(made)
    assert "fullUrl" not in made["entry"][0]


def test_an_instant_keeps_its_offset_and_needs_one():
    assert bundle.instant(NOON.astimezone(timezone(timedelta(hours=1)))) == "2026-03-01T13:00:00.005+01:00"
    with pytest.raises(ValueError, match="zone"):
        bundle.instant(datetime(2026, 3, 1))  # noqa: DTZ001 - a time without zone is what is tested
