"""``check`` never lets pass what fhir.resources refuses, whatever is done to a good resource."""

from copy import deepcopy
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidResource
from gateway.fhir.checks import check, validate
from gateway.fhir.codec import decode
from gateway.fhir.parts import written
from gateway.fhir.piecewise import check_together, stand_together
from tests.unit.gateway.fhir.examples_r4 import GOOD

ODD = st.sampled_from(
    [
        None, True, 0, -1, 1, 2**40, Decimal("1.50"), "", " ", "x", "1", "true", "2026", "2026-02-30", "2026-02-28",
        "2026-01-01T10:00:00Z", "2026-01-01T10:00:60.5+14:00", "2026-01-01T10:00:00", "10:00:00", "Patient/1", "#x",
        "urn:uuid:5f0c8a1e-0000-4000-8000-000000000001", "http://example.org/x y", "final", "a\nb", "@@@", [], {},
        [None], [{}], ["x"], [["x"]], {"id": "x"}, {"text": "x"}, {"reference": "Patient/1"}, {"start": "2026"},
        {"value": 1}, [{"text": "x"}], {"extension": [{"url": "urn:x", "valueString": "y"}]},
        {"extension": [{"url": "urn:x"}]},
    ]
).map(deepcopy)  # fmt: skip
NAMES = st.sampled_from(
    ["id", "extension", "modifierExtension", "contained", "text", "value", "valueString", "valueQuantity", "_status",
     "_value", "status", "code", "subject", "period", "resourceType", "bogus", "_id", "identifier", "language"]
)  # fmt: skip


def places(value, way=()):
    if isinstance(value, dict | list):
        yield way
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*way, key))


def mutate(resource, data):
    holder = resource
    for step in data.draw(st.sampled_from(list(places(resource)))):
        holder = holder[step]
    if isinstance(holder, list):
        position = data.draw(st.integers(0, len(holder) - 1)) if holder else None
        action = data.draw(st.sampled_from(["set", "append", "delete"]))
        if position is None or action == "append":
            holder.append(data.draw(ODD))
        elif action == "set":
            holder[position] = data.draw(ODD)
        else:
            del holder[position]
    else:
        key = data.draw(st.sampled_from(sorted(holder)) if holder and data.draw(st.booleans()) else NAMES)
        if key in holder and data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = data.draw(ODD)


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: resource["resourceType"])
@settings(max_examples=15)
@given(data=st.data())
def test_what_passes_the_check_passes_fhir_resources(resource, data):
    changed = deepcopy(resource)
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(changed, data)
    passed = [test for test in (check, check_in_parts) if passes(test, changed)]
    if passed:
        validate(changed)
    assert passed != [check_in_parts]


def passes(test, resource):
    try:
        test(resource)
    except InvalidResource:
        return False
    return True


def check_in_parts(resource):
    """As ``mappings`` checks a result: each element once, then what concerns the whole."""
    kind = resource.get("resourceType")
    if kind not in [good["resourceType"] for good in GOOD]:
        raise InvalidResource("", "the type is not drawn")
    parts = {name: value for name, value in resource.items() if name != "resourceType"}
    text = b"".join(written(kind, {name: value}) for name, value in parts.items())
    check_together(resource)
    assert decode(b"{%b}" % text[:-1]) == parts


def test_what_concerns_the_whole_is_known_of_a_type_never_met_before():
    """Its model is read when it is first asked for, however that is."""
    assert not stand_together("VisionPrescription", frozenset({"status", "created"}))
    with pytest.raises(InvalidResource, match="is required"):
        check_together({"resourceType": "VisionPrescription", "status": "active"})
