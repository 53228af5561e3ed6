import pytest

from gateway.hl7v2.events import STRUCTURES
from gateway.hl7v2.reference import VERSIONS, nearest_version, resolve, segment_rules, structure_name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("kind", "event"), [("ORU", "R01"), ("ADT", "A08"), ("ADT", "A28"), ("ADT", "A40"), ("CRM", "C02")]
)
def test_what_the_gateway_translates_has_a_structure_in_every_version(kind, event, version):
    assert resolve(kind, event, "", version).layout is not None


@pytest.mark.parametrize("structure", sorted(set(STRUCTURES.values())))
def test_every_structure_named_by_an_event_exists(structure):
    kind, _, event = structure.partition("_")

    assert resolve(kind, event, "", "2.5.1").layout is not None


def test_a_structure_the_version_does_not_have_is_read_as_in_the_nearest_and_reported():
    resolved = resolve("CRM", "C01", "", "2.2")

    assert resolved.version == "2.2"
    assert resolved.remarks == ((9, "version 2.2 has no structure CRM_C01; read as in 2.3"),)


@pytest.mark.parametrize(
    ("version", "near"),
    [("2.9", "2.8.2"), ("2.5.2", "2.5.1"), ("2.0", "2.1"), ("", "2.5.1"), ("two", "2.5.1"), ("3.0", "2.8.2")],
)
def test_an_unknown_version_is_read_as_the_nearest_and_reported(version, near):
    assert nearest_version(version) == near
    assert resolve("ORU", "R01", "", version).remarks[0][0] == 12


def test_the_event_tells_more_than_a_wrong_structure():
    assert structure_name("ADT", "A40", "ADT_A01") == "ADT_A39"
    assert resolve("ADT", "A40", "ADT_A01", "2.5").remarks[0][0] == 9


def test_a_prior_result_begins_with_its_patient():
    order = next(item for item in resolve("OML", "O21", "", "2.5.1").layout.items if item.name == "ORDER")
    request = next(item for item in order.group.items if item.name == "OBSERVATION_REQUEST")
    prior = next(item for item in request.group.items if item.name == "PRIOR_RESULT")

    assert prior.first == {"PID"}


def test_field_rules_follow_the_version():
    assert 11 in segment_rules("2.5.1", "OBX").required
    assert 4 not in segment_rules("2.8", "OBX").required
    assert segment_rules("2.5.1", "ZZZ") is None
    assert dict(segment_rules("2.2", "PID").typed)[7] != dict(segment_rules("2.7", "PID").typed)[7]


def test_the_older_name_of_a_structure_is_no_mistake():
    assert resolve("ADT", "A28", "ADT_A01", "2.3.1").remarks == ()
