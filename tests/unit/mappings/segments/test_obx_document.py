"""A result that is a document: a DocumentReference that tells of it and a Binary that holds its bytes."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gateway.fhir.codec import decode
from gateway.services.merge import clock_of
from tests.resulting import result
from tests.translating import bodies, body, findings

PDF = b"%PDF-1.4 fictional"
SENT = f"^application^pdf^Base64^{base64.b64encode(PDF).decode()}"


def a_document(sent=SENT, *, kind="ED", status="F", at="20260312073000"):
    return result(f"OBX|1|{kind}|REF^Referto^L||{sent}||||||{status}|||{at}||Q1^Bianchi^Ugo")


def attachment(made):
    (content,) = body(made, "DocumentReference")["content"]
    return content["attachment"]


def test_a_document_is_found_by_its_reference_and_fetched_as_a_binary():
    made = a_document()
    reference, binary = body(made, "DocumentReference"), body(made, "Binary")
    digest = base64.b64encode(hashlib.sha1(PDF, usedforsecurity=False).digest()).decode()

    assert attachment(made) == {
        "contentType": "application/pdf", "url": f"Binary/{binary['id']}", "size": len(PDF), "hash": digest,
    }  # fmt: skip
    assert base64.b64decode(binary["data"]) == PDF
    assert binary["contentType"] == "application/pdf"
    assert binary["securityContext"] == {"reference": f"DocumentReference/{reference['id']}"}


def test_the_reference_says_of_the_document_what_the_observation_says_of_the_result():
    made = a_document()
    reference, observation = body(made, "DocumentReference"), body(made, "Observation")

    assert reference["subject"] == observation["subject"]
    assert reference["type"] == observation["code"]
    assert reference["author"] == observation["performer"]
    assert reference["context"]["related"] == [{"reference": f"Observation/{observation['id']}"}]
    at = observation["effectiveDateTime"]
    assert reference["context"]["period"] == {"start": at, "end": at}


def test_both_lie_in_time_where_the_result_lies():
    dates = {each.type: each.date for each in a_document().statements}

    assert dates["DocumentReference"] == dates["Binary"] == dates["Observation"]


@pytest.mark.parametrize(
    ("sent", "status", "doc_status"),
    [
        ("P", "current", "preliminary"), ("F", "current", "final"), ("C", "current", "amended"),
        ("D", "entered-in-error", "entered-in-error"), ("X", "entered-in-error", "entered-in-error"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_document_is_what_becomes_of_the_result(sent, status, doc_status):
    reference = body(a_document(status=sent), "DocumentReference")

    assert (reference["status"], reference["docStatus"]) == (status, doc_status)


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_a_document_that_is_taken_back_without_being_sent_again_is_told_of_no_more(status):
    made = a_document("", status=status)

    assert body(made, "DocumentReference")["id"] == body(a_document(), "DocumentReference")["id"]
    assert body(made, "DocumentReference")["status"] == "entered-in-error"
    assert "url" not in attachment(made)
    (binary,) = (each for each in made.statements if each.type == "Binary")
    assert binary.status in {"entered-in-error", "cancelled"}
    assert b'"data"' not in binary.body


def test_a_corrected_document_is_another_version_of_the_same():
    corrected = a_document("^TEXT^^A^rifatto", status="C")

    assert body(corrected, "Binary")["id"] == body(a_document(), "Binary")["id"]
    assert base64.b64decode(body(corrected, "Binary")["data"]) == b"rifatto"


def test_a_provisional_document_ranks_below_the_final_one_as_its_result_does():
    provisional, final = a_document(status="P"), a_document(status="F")
    for type in ("DocumentReference", "Binary", "Observation"):
        clocks = [
            clock_of(each, "20260401", 1) for made in (provisional, final) for each in made.statements
            if each.type == type
        ]  # fmt: skip
        assert clocks[0] < clocks[1]


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        ("^application^pdf^Base64^JVB@@@", "the document is not Base64: left out"),
        ("^application^pdf^Hex^0G", "the document is not Hex: left out"),
        ("^application^pdf^UUEncode^M", "the document cannot be read: left out"),
        ("^application^pdf^^JVBERi0=", "the document cannot be read: left out"),
        ("^application^pdf^Base64^", "the document is not Base64: left out"),
    ],
)
def test_a_document_that_cannot_be_read_is_named_by_its_place_and_held_for_a_person(sent, what):
    made = a_document(sent)

    assert [(one.place, one.what) for one in made.findings] == [("OBX-5.5", what)]
    held = {each.type: each.held for each in made.statements}
    assert held["Observation"] == held["DocumentReference"] == "document cannot be read"
    assert "Binary" not in held
    assert attachment(made) == {"contentType": "application/pdf"}


def test_the_result_behind_a_document_that_cannot_be_read_has_none():
    made = result("OBX|1|ED|REF^R^L||^TEXT^^Hex^x||||||F", "OBX|2|NM|HB^Hb^L||9,8|g/dL|||||F")

    assert len(bodies(made, "DocumentReference")) == 1
    assert [each.held for each in made.statements if each.type == "Observation"] == ["document cannot be read", ""]


def test_each_repetition_is_a_document_of_its_own():
    made = result("OBX|1|ED|REF^R^L||^TEXT^^A^uno~^TEXT^^A^due||||||F")

    assert [base64.b64decode(each["data"]) for each in bodies(made, "Binary")] == [b"uno", b"due"]
    assert len({each["id"] for each in bodies(made, "DocumentReference")}) == 2


def test_text_sent_as_it_is_leaves_as_utf_8():
    made = a_document("^TEXT^^A^perché no")

    assert body(made, "Binary")["contentType"] == "text/plain; charset=UTF-8"
    assert base64.b64decode(body(made, "Binary")["data"]).decode() == "perché no"


@pytest.mark.parametrize("said", [r"text/html\X0D\\X0A\Set-Cookie: a", "text/html; a=b", "no type/at all"])
def test_what_is_no_media_type_is_never_told_as_one(said):
    assert body(a_document(f"^x^{said}^Base64^JVBE"), "Binary")["contentType"] == "application/octet-stream"


def test_a_pointer_is_a_document_elsewhere():
    made = a_document("https://pacs.example/1^^application^dicom", kind="RP")

    assert attachment(made) == {"contentType": "application/dicom", "url": "https://pacs.example/1"}
    assert bodies(made, "Binary") == []


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "file:///etc/passwd", "https://me:secret@pacs.example/1", "1.2.840.1", "https:x"]
)
def test_a_pointer_that_nobody_should_follow_is_told_nowhere(address):
    made = a_document(f"{address}^^application^dicom", kind="RP")

    assert findings(made) == ["a pointer that is no address: left out"]
    assert bodies(made, "DocumentReference") == []
    assert not any(address in str(decode(each.body)) for each in made.statements)
