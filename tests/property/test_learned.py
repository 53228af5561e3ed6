"""Whatever looks like something valid is valid: a learned pattern never lets pass what the check refuses."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidResource
from gateway.fhir.checks import check, validate
from gateway.fhir.codec import decode, encode
from gateway.fhir.learned import _KNOWN, _PLAIN, checked, learn, looks_valid
from gateway.fhir.parts import written
from gateway.fhir.rules import Scope
from gateway.model.site import Authority, Feed, Site
from mappings.translator import SiteTranslator
from tests.bench.figures import SIZES, message
from tests.translating import RECEIVED

NORTH = Site("north", "North", "Europe/Rome", authorities={"NORTH": Authority("urn:oid:2.999")}, primary=("NORTH",))
TRANSLATOR = SiteTranslator({"north": NORTH}, {"north": Feed("north", "north")}, b"k" * 32)
DATES = ["2026", "2026-02-29", "2026-03-01", "0000-01-01"]
MOMENTS = ["2026-03-01T08:00:00+01:00", "2026-03-01T24:00:00+01:00", "2026-03-01T08:00:00+15:00"]
POINTERS = ["Patient/1", "Practitioner/a_b", "Group/1", "#1", "Nothing/1", "a" * 65]
TEXTS = ["", " ", "x", "Èva", "Rossi Èva", "+39", 'a"b', "\\", "\u00a0", "\x7f", "final", "http://loinc.org", "718-7"]
LEAVES = st.sampled_from([*DATES, *MOMENTS, *POINTERS, *TEXTS, 0, -1, 7, True, None, [], {}])


@settings(max_examples=300)
@given(data=st.data(), rule=st.sampled_from(list(_PLAIN)))
def test_a_rule_takes_whatever_its_pattern_takes(data, rule):
    written_so = data.draw(st.from_regex(_PLAIN[rule], fullmatch=True))
    try:
        value = decode(written_so)
    except InvalidResource:
        assume(False)  # no JSON is written so: the bytes are not UTF-8
    rule(value, Scope())


def _changed(value: Any, data: st.DataObject) -> Any:
    """The same structure with some leaves changed, and now and then an element left out."""
    if isinstance(value, dict):
        left_out = data.draw(st.sampled_from([None] * 30 + list(value)))
        return {name: _changed(item, data) for name, item in value.items() if name != left_out}
    if isinstance(value, list):
        return [_changed(item, data) for item in value]
    return data.draw(st.one_of(st.just(value), st.just(value), st.just(value), st.just(value), LEAVES))


@settings(max_examples=300)
@given(data=st.data(), number=st.integers(0, 10**6), size=st.sampled_from(SIZES))
def test_what_looks_valid_is_valid(data, number, size):
    statements = TRANSLATOR.translate(message(number, size=size), "north", RECEIVED).statements
    body = decode(data.draw(st.sampled_from(statements)).body)
    assert checked(body) == encode(body)
    changed = _changed(body, data)

    text = encode(changed)
    if looks_valid(body["resourceType"], changed, text):
        validate(decode(text))
    else:
        _agree(changed)


def _agree(resource: dict[str, Any]) -> None:
    """The check of parts refuses whatever element the check of the whole refuses."""
    kind = resource.get("resourceType")
    try:
        check(resource)
    except InvalidResource:
        return
    assert checked(resource) == encode(resource)
    for name, value in resource.items():
        assert written(kind, {name: value}) == encode({name: value})[1:-1] + b","


def test_no_text_of_a_patient_is_learned():
    odd = {"resourceType": "Patient", "id": "1", "name": [{"family": "Łucja"}]}
    learn("Patient", odd, encode(odd))
    assert not looks_valid("Patient", odd, encode(odd))


def test_what_is_learned_of_one_type_says_nothing_of_another():
    assert written("Observation", {"note": [{"text": "A note"}]})
    assert looks_valid("Observation", {"note": []}, b'{"note":[{"text":"Other words"}]}')
    assert not looks_valid("Patient", {"note": []}, b'{"note":[{"text":"Other words"}]}')
    assert not looks_valid("Observation", {"note": []}, b'{"note":[{"text":""}]}')


def test_elements_that_a_rule_compares_are_not_left_open():
    visit = {
        "resourceType": "Encounter",
        "id": "1",
        "status": "finished",
        "class": {"code": "IMP"},
        "period": {"start": "2026-03-01", "end": "2026-03-02"},
    }
    assert checked(visit)
    wrong = {**visit, "period": {"start": "2026-03-05", "end": "2026-03-02"}}
    assert not looks_valid("Encounter", wrong, encode(wrong))


def test_no_more_is_learned_than_pays():
    _KNOWN.clear()  # other tests of this process may have left it full
    for number in range(100):
        method = {"coding": [{"system": f"https://lakeside.example/{number}", "code": "M"}]}
        assert written("Observation", {"method": method})
    assert len(_KNOWN["Observation", ("method",)].patterns) <= 16
