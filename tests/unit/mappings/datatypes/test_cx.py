import pytest

from mappings.datatypes.cx import cx, cx_identifier, ei_identifier
from tests.translating import MRN, SITE, context, field, findings, gaps

TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"


def test_a_declared_authority_gives_the_system_and_the_value_is_copied_as_text():
    made = context()

    assert cx_identifier(field("0042^^^LAKE^MR"), made) == {
        "type": {"coding": [{"system": TYPES, "code": "MR"}]},
        "system": MRN,
        "value": "0042",
    }
    assert not made.gaps


def test_an_authority_is_known_by_its_universal_id_before_its_name():
    assert cx_identifier(field("X^^^LAKE&2.999.1&ISO"), context())["system"] == "urn:oid:2.999.1"


def test_an_undeclared_authority_is_scoped_to_the_site_and_a_gap():
    made = context()

    identifier = cx_identifier(field("7^^^Other Clinic^PI"), made)

    assert identifier["system"] == SITE.scoped("identifier", "Other Clinic")
    assert identifier["assigner"] == {"display": "Other Clinic"}
    assert gaps(made) == [("authority", "PID-3", "Other Clinic")]


def test_numbers_without_authority_of_two_kinds_never_share_a_system():
    systems = {cx_identifier(field(sent), context())["system"] for sent in ("7^^^^MR", "7^^^^PI", "7")}

    assert len(systems) == 3


@pytest.mark.parametrize(
    "sent", ["123-45-6789^^^^SS", "123456789^^^USSSA&2.16.840.1.113883.4.1&ISO^NI", "123412341234^^^AADHAAR^NI"]
)
def test_an_identifier_that_must_not_be_stored_is_left_out_and_said(sent):
    made = context()

    assert cx_identifier(field(sent), made) is None
    assert findings(made) == ["an identifier that must not be stored was left out"]


def test_a_type_that_hl7_does_not_list_is_the_sites_and_a_gap():
    made = context()

    coding = cx_identifier(field("7^^^LAKE^NNITA"), made)["type"]["coding"]

    assert coding == [{"system": SITE.scoped("table", "0203"), "code": "NNITA"}]
    assert gaps(made) == [("table", "PID-3", "NNITA")]


def test_validity_becomes_the_period():
    assert cx_identifier(field("7^^^LAKE^MR^^20250101^20251231"), context())["period"] == {
        "start": "2025-01-01",
        "end": "2025-12-31",
    }


def test_no_value_is_no_identifier():
    assert cx(field("^^^LAKE^MR"), context()) is None


def test_an_order_number_without_authority_is_the_sites_and_no_gap():
    made = context()

    assert ei_identifier(field("L91"), made, kind="FILL") == {
        "type": {"coding": [{"system": TYPES, "code": "FILL"}]},
        "system": SITE.scoped("identifier", "FILL"),
        "value": "L91",
    }
    assert ei_identifier(field("L91^LAKE"), made)["system"] == MRN
    assert not made.gaps
    assert ei_identifier(field("L91^LIS"), made)["system"] == SITE.scoped("identifier", "LIS")
    assert gaps(made) == [("authority", "PID-3", "LIS")]
