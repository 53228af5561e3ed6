import pytest

from gateway.hl7v2.message import Segment, parse_text
from gateway.hl7v2.structures import group


def message(kind, names, version="2.5.1"):
    lines = [f"{name}|{index}" for index, name in enumerate(names.split(), 1)]
    return parse_text("\r".join([f"MSH|^~\\&|||||||{kind}|1|P|{version}", *lines]))


def outline(found):
    """Return a group as text: ``ORDER(ORC OBR)``."""
    children = [child.name if isinstance(child, Segment) else outline(child) for child in found.children]
    return f"{found.name}({' '.join(children)})"


@pytest.mark.parametrize(
    ("kind", "names", "version", "expected"),
    [
        (
            "ORU^R01",
            "PID NTE PV1 ORC OBR NTE OBX NTE NTE OBX OBR OBX SPM OBX",
            "2.5.1",
            "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID NTE VISIT(PV1))"
            " ORDER_OBSERVATION(ORC OBR NTE OBSERVATION(OBX NTE NTE) OBSERVATION(OBX))"
            " ORDER_OBSERVATION(OBR OBSERVATION(OBX) SPECIMEN(SPM OBX))))",
        ),
        (
            "ORU^R01",
            "PID PV1 OBR OBX NTE PID OBR OBX",
            "2.3",
            "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(OBR OBSERVATION(OBX NTE)))"
            " PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX))))",
        ),
        (
            "ORU",
            "PID OBR OBX OBX",
            "2.1",
            "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX) OBSERVATION(OBX))))",
        ),
        (
            "ORU^R01",
            "PID OBX OBR OBX PRT NTE",
            "2.8.2",
            "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID PATIENT_OBSERVATION(OBX))"
            " ORDER_OBSERVATION(OBR OBSERVATION(OBX PRT NTE))))",
        ),
        (
            "ADT^A01",
            "EVN PID NK1 PV1 AL1 DG1 PR1 ROL IN1",
            "2.5",
            "ADT_A01(MSH EVN PID NK1 PV1 AL1 DG1 PROCEDURE(PR1 ROL) INSURANCE(IN1))",
        ),
        ("ADT^A40", "EVN PID MRG PID MRG", "2.5.1", "ADT_A39(MSH EVN PATIENT(PID MRG) PATIENT(PID MRG))"),
        ("ADT^A31", "EVN PID PV1", "2.3", "ADT_A01(MSH EVN PID PV1)"),
        ("CRM^C01", "PID PV1 CSR CSP PID CSR", "2.5.1", "CRM_C01(MSH PATIENT(PID PV1 CSR CSP) PATIENT(PID CSR))"),
        ("CRM^C01", "PID PV1 CSR", "2.8.2", "CRM_C01(MSH PATIENT(PID VISIT(PV1) CSR))"),
        (
            "CSU^C09",
            "PID CSR CSP CSS OBR OBX OBX ORC RXA RXR CSS OBR OBX",
            "2.5.1",
            "CSU_C09(MSH PATIENT(PID CSR STUDY_PHASE(CSP STUDY_SCHEDULE(CSS STUDY_OBSERVATION(OBR OBX OBX)"
            " STUDY_PHARM(ORC RX_ADMIN(RXA RXR))) STUDY_SCHEDULE(CSS STUDY_OBSERVATION(OBR OBX)))))",
        ),
        (
            "OML^O21",
            "PID ORC OBR OBX ORC OBR",
            "2.5.1",
            "OML_O21(MSH PATIENT(PID) ORDER(ORC OBSERVATION_REQUEST(OBR OBSERVATION(OBX)))"
            " ORDER(ORC OBSERVATION_REQUEST(OBR)))",
        ),
        (
            "ORM^O01",
            "PID ORC OBR NTE OBX ORC RXO",
            "2.5.1",
            "ORM_O01(MSH PATIENT(PID) ORDER(ORC ORDER_DETAIL(ORDER_CHOICE(OBR) NTE OBSERVATION(OBX)))"
            " ORDER(ORC ORDER_DETAIL(ORDER_CHOICE(RXO))))",
        ),
    ],
)
def test_segments_fall_into_the_groups_of_the_standard(kind, names, version, expected):
    read = message(kind, names, version)

    assert outline(group(read)) == expected
    assert read.findings == []


@pytest.mark.parametrize(
    ("names", "expected", "places"),
    [
        (
            "PID ZPI OBR ZOB OBX ZOX NTE",
            "PATIENT_RESULT(PATIENT(PID ZPI) ORDER_OBSERVATION(OBR ZOB OBSERVATION(OBX ZOX NTE)))",
            [],
        ),
        ("PID OBX OBX", "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBSERVATION(OBX) OBSERVATION(OBX)))", []),
        ("OBR OBX", "PATIENT_RESULT(ORDER_OBSERVATION(OBR OBSERVATION(OBX)))", []),
        (
            "PID ORC ORC OBR OBX",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(ORC) ORDER_OBSERVATION(ORC OBR OBSERVATION(OBX)))",
            [],
        ),
        (
            "PID OBR OBX PV1 NTE OBX",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX PV1 NTE) OBSERVATION(OBX)))",
            ["PV1"],
        ),
        (
            "PID ORC NTE OBR OBX",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(ORC NTE OBR OBSERVATION(OBX)))",
            ["NTE"],
        ),
        (
            "PID OBR OBX MRG OBX",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX MRG) OBSERVATION(OBX)))",
            ["MRG"],
        ),
    ],
)
def test_messages_against_the_standard_lose_nothing_and_group_what_can_be_grouped(names, expected, places):
    read = message("ORU^R01", names)

    assert outline(group(read)) == f"ORU_R01(MSH {expected})"
    assert [finding.place for finding in read.findings] == places


def test_an_order_without_its_orc_is_still_an_order_of_its_own():
    found = group(message("OML^O21", "PID ORC OBR OBX OBR OBX"))

    assert [len(order.all_segments()) for order in found.groups("ORDER")] == [3, 2]


def test_a_message_of_unknown_structure_is_one_group_and_says_so():
    read = message("XYZ^X01", "PID OBX")

    assert outline(group(read)) == "XYZ_X01(MSH PID OBX)"
    assert [finding.place for finding in read.findings] == ["MSH-9"]


@pytest.mark.parametrize("version", ["2.9", ""])
def test_an_unknown_version_is_grouped_and_reported(version):
    read = message("ORU^R01", "PID OBR OBX", version)

    assert group(read).groups("PATIENT_RESULT")
    assert [finding.place for finding in read.findings] == ["MSH-12"]


def test_grouping_twice_reports_once():
    read = message("ORU^R01", "PID PV1 PV1")

    assert group(read) is group(read)
    assert len(read.findings) == 1


def test_groups_are_asked_for_their_own_children():
    order = group(message("ORU^R01", "PID OBR NTE OBX NTE")).groups("PATIENT_RESULT")[0].groups("ORDER_OBSERVATION")[0]

    assert [segment.sequence for segment in order.segments("NTE")] == [1]
    assert order.first("OBX") is None
    assert [segment.name for segment in order.all_segments()] == ["OBR", "NTE", "OBX", "NTE"]


def test_a_very_long_message_is_grouped_too():
    found = group(message("ORU^R01", "PID OBR" + " OBX NTE" * 1500))

    assert len(found.groups("PATIENT_RESULT")[0].groups("ORDER_OBSERVATION")[0].groups("OBSERVATION")) == 1500
