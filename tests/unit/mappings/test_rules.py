from importlib import import_module

import pytest

from gateway.hl7v2.message import parse_text
from mappings.coverage import MAPS
from mappings.rules import Row, Rule, SegmentMap
from tests.translating import context, text

ROWS = [(each, row) for each in MAPS for row in each.rows]


def draft_of(rows, line):
    """Apply rows to a PID and return the context and the draft."""
    made = context()
    draft = made.draft("Patient", "p")
    SegmentMap("PID", "Patient", rows).apply(parse_text(text(line)).require("PID"), made, draft)
    return made, draft


def first(found, _context):
    return found.component(1) or None


def test_a_row_of_one_field_sets_its_element():
    _, draft = draft_of((Row("PID-3", "a.b", first),), "PID|||x~y")

    assert draft.body["a"] == {"b": "x"}


def test_a_row_that_repeats_adds_every_repetition_once():
    _, draft = draft_of(
        (Row("PID-3", "a", first, repeats=True), Row("PID-4", "a", first, repeats=True)), "PID|||x~~y~x|z"
    )

    assert draft.body["a"] == ["x", "y", "z"]


def test_a_component_can_be_read_as_a_field():
    _, draft = draft_of((Row("PID-3.2", "a", lambda found, _: found.component(2)),), "PID|||x^y&z")

    assert draft.body["a"] == "z"


def test_a_field_that_is_not_valued_says_nothing_and_a_null_removes():
    _, draft = draft_of(
        (Row("PID-3", "a.b", first), Row("PID-4", "c", first, repeats=True), Row("PID-5", "d", first)), 'PID|||""|""||'
    )

    assert draft.removes == {"a", "c"}
    assert draft.body.keys() == {"resourceType", "id"}


def test_a_rule_that_says_nothing_removes_where_a_source_is_nulled():
    rule = Rule(
        ("PID-3", "PID-4"),
        "a[x]",
        lambda segment, _: {"aOne": 1} if segment.value(3) else None,
        removes=("aOne", "aTwo"),
    )

    assert draft_of((rule,), 'PID||||""')[1].removes == {"aOne", "aTwo"}
    assert draft_of((rule,), 'PID|||x|""')[1].removes == set()
    assert draft_of((rule,), 'PID|||x|""')[1].body["aOne"] == 1


def test_a_gap_has_the_place_of_the_field_that_was_read():
    def gapping(found, made):
        made.gap("table", found.component(1))

    made, _ = draft_of((Row("PID-8", "a", gapping), Row("PID-16", "b", gapping)), "PID||||||||Q||||||||W~V")

    assert [(gap.place, gap.code) for gap in made.gaps] == [("PID-8", "Q"), ("PID-16", "W")]


@pytest.mark.parametrize(("each", "row"), ROWS, ids=[f"{row.target}-{n}" for n, (_, row) in enumerate(ROWS)])
def test_every_row_names_an_element_of_its_resource(each, row):
    model = getattr(import_module(f"fhir.resources.R4B.{each.resource.lower()}"), each.resource)
    elements = {field.alias or name for name, field in model.model_fields.items()}
    element = row.target.partition(".")[0]

    if element.endswith("[x]"):
        assert any(name.startswith(element.removesuffix("[x]")) for name in elements)
    else:
        assert element in elements
