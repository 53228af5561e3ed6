from __future__ import annotations

import json
import threading
from decimal import Decimal

import pytest
from msgspec.structs import replace

from adapters.recipient.fhir_server import FhirServer, same
from fixtures.standins.fhir import FhirStandIn
from gateway.fhir import codec
from gateway.model.delivery import Accepted, ChangeKind, Deferred, Refused, Unknown
from tests.contracts.far_end import FarEnd, answer
from tests.contracts.packages import observation, package, patient, recipient, released
from tests.contracts.waiting import PATIENCE


@pytest.fixture
def standin():
    made = FhirStandIn()
    yield made
    made.close()


@pytest.fixture
def against(request):
    """Deliver a package to a far end with a script; return the outcome and what it saw."""

    def deliver(script, sent=None, **changes):
        far_end = FarEnd(script)
        adapter = FhirServer(recipient(address=far_end.address + "/fhir", **changes))
        try:
            return adapter.deliver(sent or package()), far_end.seen
        finally:
            adapter.close()
            far_end.close()

    return deliver


def deliver(standin, sent, **changes):
    adapter = FhirServer(recipient(address=standin.address, **changes))
    try:
        return adapter.deliver(sent)
    finally:
        adapter.close()


def test_a_package_arrives_as_one_transaction(standin):
    outcome = deliver(standin, package())

    assert isinstance(outcome, Accepted)
    assert not outcome.refused
    assert standin.resources == {"Patient/p1": patient(), "Observation/o1": observation()}
    assert standin.deliveries == ["7-1"]


def test_numbers_arrive_with_all_their_digits(against):
    _, seen = against(lambda _: answer(200), package(released(observation(value="1.50"))))

    assert b'"value":1.50' in seen[0].body


def test_of_several_versions_the_last_is_sent(standin):
    first, second = observation(value="1"), observation(value="2")

    outcome = deliver(standin, package(released(first), released(second, ChangeKind.UPDATED, 2)))

    assert isinstance(outcome, Accepted)
    assert standin.resources["Observation/o1"]["valueQuantity"]["value"] == 2


def test_a_repeat_of_a_delivery_changes_nothing(standin):
    deliver(standin, package())
    deliver(standin, package())

    assert (standin.deliveries, standin.repeats) == (["7-1"], ["7-1"])
    assert set(standin.versions.values()) == {1}


def test_a_retraction_is_marked_or_deleted_as_the_recipient_wants(standin):
    deliver(standin, package())
    gone = {**observation(), "status": "entered-in-error"}
    retracted = released(gone, ChangeKind.RETRACTED, 2)

    deliver(standin, package(retracted, delivery_id="7-2"), retraction="mark")
    assert standin.resources["Observation/o1"]["status"] == "entered-in-error"

    deliver(standin, package(retracted, delivery_id="7-3"), retraction="delete")
    assert "Observation/o1" not in standin.resources


def test_what_nothing_can_be_said_of_but_that_it_is_gone_is_deleted(standin):
    deliver(standin, package())
    gone = replace(released(observation(), ChangeKind.RETRACTED, 2), text=b"{}")

    assert isinstance(deliver(standin, package(gone, delivery_id="7-2"), retraction="mark"), Accepted)
    assert "Observation/o1" not in standin.resources


def test_a_repeat_reads_first_and_sends_nothing_when_all_is_there(standin):
    deliver(standin, package())

    outcome = deliver(standin, package(delivery_id="7-9", repeat=True))

    assert outcome == Accepted("was there already")
    assert standin.deliveries == ["7-1"]


def test_a_repeat_sends_again_when_the_server_holds_something_else(standin):
    deliver(standin, package())

    outcome = deliver(standin, package(released(observation(value="9")), delivery_id="7-2", repeat=True))

    assert isinstance(outcome, Accepted)
    assert standin.resources["Observation/o1"]["valueQuantity"]["value"] == 9


def test_a_repeat_sends_again_when_the_server_holds_more_than_it_should(standin):
    deliver(standin, package(released({**observation(), "note": [{"text": "x"}]})))

    deliver(standin, package(released(observation()), delivery_id="7-2", repeat=True))

    assert standin.resources["Observation/o1"] == observation()


def test_a_repeated_deletion_is_settled_when_it_is_gone(standin):
    deliver(standin, package())
    retracted = released({**observation(), "status": "entered-in-error"}, ChangeKind.RETRACTED, 2)
    deliver(standin, package(retracted, delivery_id="7-2"), retraction="delete")

    outcome = deliver(standin, package(retracted, delivery_id="7-2", repeat=True), retraction="delete")

    assert outcome == Accepted("was there already")


def test_of_a_refused_bundle_only_the_refused_entries_are_left_out(standin):
    bad = {**observation("o2"), "status": "no-such-status"}

    outcome = deliver(standin, package(released(patient()), released(bad), released(observation())))

    assert isinstance(outcome, Accepted)
    assert [entry.reference for entry in outcome.refused] == ["Observation/o2"]
    assert set(standin.resources) == {"Patient/p1", "Observation/o1"}


def test_a_bundle_of_which_every_entry_is_refused_is_refused(standin):
    bad = {**observation("o2"), "status": "no-such-status"}

    outcome = deliver(standin, package(released(bad)))

    assert isinstance(outcome, Refused)
    assert not standin.resources


def test_one_by_one_an_open_end_leaves_the_whole_open(against):
    def script(seen):
        if seen.method == "POST":
            return answer(422)
        return answer(200) if "Patient" in seen.path else None

    outcome, _ = against(script)

    assert isinstance(outcome, Unknown)


def test_one_by_one_a_repeat_goes_on_where_it_stopped():
    answers = {"/fhir/Patient/p1": [answer(200)], "/fhir/Observation/o1": [None, answer(422)]}

    def script(seen):
        if seen.method == "GET":
            return answer(404)
        return answer(422) if seen.method == "POST" else answers[seen.path].pop(0)

    far_end = FarEnd(script)
    adapter = FhirServer(recipient(address=far_end.address + "/fhir"))
    first, second = adapter.deliver(package()), adapter.deliver(package(repeat=True))
    adapter.close()
    far_end.close()

    assert isinstance(first, Unknown)
    assert [entry.reference for entry in second.refused] == ["Observation/o1"]


def test_one_by_one_a_server_that_asks_to_wait_before_anything_arrived_is_deferred(against):
    outcome, _ = against(lambda seen: answer(422) if seen.method == "POST" else answer(503, Retry_After="9"))

    assert isinstance(outcome, Deferred)
    assert outcome.wait.total_seconds() == 9


@pytest.mark.parametrize("status", [409, 412])
def test_after_a_conflict_the_server_is_read(against, status):
    held = {"Patient/p1": patient(), "Observation/o1": observation()}

    def script(seen):
        if seen.method == "POST":
            return answer(status)
        return answer(200, codec.encode(held[seen.path.removeprefix("/fhir/")]))

    assert isinstance(against(script)[0], Accepted)

    held["Observation/o1"] = observation(value="3")
    assert isinstance(against(script)[0], Unknown)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Deferred), (403, Deferred), (404, Deferred), (302, Deferred), (500, Unknown), (429, Deferred)],
)
def test_an_answer_that_is_not_about_the_content_is_one_request(against, status, kind):
    outcome, seen = against(lambda _: answer(status))

    assert isinstance(outcome, kind)
    assert len(seen) == 1


def test_an_entry_the_response_calls_failed_is_refused(against):
    lines = {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": "201 Created"}}, {"response": {"status": "422 Unprocessable"}}],
    }
    outcome, _ = against(lambda _: answer(200, json.dumps(lines).encode()))

    assert [(one.reference, one.detail) for one in outcome.refused] == [("Observation/o1", "HTTP 422")]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"entry": [1, null, {}]}', b"\xff"])
def test_a_success_with_an_odd_body_is_still_a_success(against, body):
    outcome, _ = against(lambda _: answer(200, body))

    assert isinstance(outcome, Accepted)
    assert not outcome.refused


def test_an_answer_too_large_to_read_is_judged_by_its_status(against):
    outcome, _ = against(lambda _: answer(200, b"x" * 5000), max_bytes=1000)

    assert isinstance(outcome, Accepted)


def test_the_reason_names_code_and_element_and_repeats_no_words(against):
    told = {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "invalid",
                "diagnostics": "Ada Lovelace has no birth date",
                "expression": ["Patient.birthDate"],
            }
        ],
    }
    outcome, _ = against(lambda _: answer(422, json.dumps(told).encode()))

    assert "invalid at Patient.birthDate" in outcome.detail
    assert "Lovelace" not in outcome.detail


@pytest.mark.parametrize("expression", ["Ada Lovelace", "Patient.name('Ada')", 7, None])
def test_a_reason_that_is_no_element_path_is_not_repeated(against, expression):
    told = {"issue": [{"severity": "error", "code": "Ada Lovelace", "expression": [expression]}]}
    outcome, _ = against(lambda _: answer(422, json.dumps(told).encode()))

    assert "Ada" not in outcome.detail


def test_conditional_updates_find_by_the_subject_number(standin):
    outcome = deliver(standin, package(), search_by_identifier=True)

    assert isinstance(outcome, Accepted)
    assert standin.resources["Patient/p1"] == patient()


def test_no_identifier_but_the_gateways_own_stands_in_an_address(against):
    body = {**patient(), "identifier": [{"system": "urn:hospital", "value": "MRN123"}]}

    _, seen = against(lambda _: answer(422), package(released(body)), search_by_identifier=True)

    urls = [request.path for request in seen]
    bundle = codec.decode(seen[0].body)
    assert bundle["entry"][0]["request"]["url"] == "Patient/p1"
    assert not any("MRN123" in url for url in urls)


def test_an_r5_recipient_gets_r5(against):
    subject = {
        "resourceType": "ResearchSubject",
        "id": "s1",
        "status": "on-study",
        "study": {"reference": "ResearchStudy/x"},
        "individual": {"reference": "Patient/p1"},
    }
    _, seen = against(lambda _: answer(200), package(released(subject)), fhir_version="R5")

    sent = codec.decode(seen[0].body)["entry"][0]["resource"]
    assert "individual" not in sent
    assert sent["subject"] == {"reference": "Patient/p1"}


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        ({"v": Decimal("1.50")}, {"v": Decimal("1.5")}, True),
        ({"v": 1}, {"v": True}, False),
        ({"v": "1"}, {"v": 1}, False),
        ({"v": [1, 2]}, {"v": [1]}, False),
        ({"v": {"w": 1}}, {"v": {"w": 1, "x": 2}}, False),
        ({"v": 1}, {"v": 1, "text": {"status": "generated"}, "meta": {"versionId": "1"}}, True),
        ({"v": 1, "text": {"status": "additional"}}, {"v": 1, "text": {"status": "generated"}}, False),
        ({"v": 1}, [], False),
    ],
)
def test_what_a_server_holds_is_compared_element_by_element(ours, theirs, equal):
    assert same(ours, theirs) is equal


def test_an_attempt_ends_by_its_deadline_and_the_next_goes_on_where_it_stopped():
    puts, given_up = [], threading.Event()

    def script(seen):
        if seen.method != "PUT":
            return answer(422 if seen.method == "POST" else 404)
        puts.append(seen.path)
        if puts == ["/Patient/p1", "/Observation/o1"]:
            given_up.wait(PATIENCE)
        return answer(200)

    far_end = FarEnd(script)
    adapter = FhirServer(recipient(address=far_end.address, deadline=2.0))
    try:
        first = adapter.deliver(package())
        given_up.set()
        second = adapter.deliver(package(repeat=True))
    finally:
        adapter.close()
        far_end.close()

    assert first == Unknown("one by one: ReadTimeout")
    assert isinstance(second, Accepted)
    assert puts == ["/Patient/p1", "/Observation/o1", "/Observation/o1"]


def test_what_was_written_as_json_before_is_sent_as_it_is(standin):
    body = observation(value="1.50")
    written = replace(released(body), text=codec.encode({**body, "status": "amended"}))

    deliver(standin, package(released(patient()), written))

    assert standin.resources["Observation/o1"]["status"] == "amended"
