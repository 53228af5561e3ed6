"""Merging: whatever the order messages arrive in, the resource ends the same."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir import codec
from gateway.model.resource import ResourceVersion
from gateway.model.translation import Statement
from gateway.services.merge import clock_of, first_clocks, merge

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def statement(
    body: dict[str, Any], *, rank: int = 0, removes: tuple[str, ...] = (), kind: str = "Patient"
) -> Statement:
    whole = {"resourceType": kind, "id": "r1", **body}
    return Statement(kind, "r1", codec.encode(whole), rank=rank, removes=removes, status=body.get("status", ""))


def fold(*said: tuple[Statement, str, int]) -> dict[str, Any]:
    head = first(*said[0])
    for what, sent_at, message in said[1:]:
        merged = merge(head, what, clock_of(what, sent_at, message))
        head = head.but(version=head.version + 1, body=merged.body, message=message, clocks=merged.clocks)
    return codec.decode(head.body)


def first(what: Statement, sent_at: str, message: int) -> ResourceVersion:
    clocks = first_clocks(what, clock_of(what, sent_at, message))
    return ResourceVersion(what.type, what.id, 1, what.body, message, NOON, clocks=clocks)


def test_a_field_that_is_not_valued_leaves_what_is_there():
    first = statement({"gender": "female", "birthDate": "2020-01-01"})
    second = statement({"gender": "female"})

    assert fold((first, "2026-01-01", 1), (second, "2026-01-02", 2))["birthDate"] == "2020-01-01"


def test_a_nulled_field_removes_the_element_and_an_older_message_does_not_bring_it_back():
    first = statement({"gender": "female", "telecom": [{"value": "1"}]})
    nulled = statement({"gender": "female"}, removes=("telecom",))
    older = statement({"telecom": [{"value": "2"}]})

    ended = fold((first, "2026-01-01", 1), (nulled, "2026-01-03", 2), (older, "2026-01-02", 3))

    assert "telecom" not in ended


def test_a_feed_of_lower_rank_fills_gaps_but_never_overwrites():
    adt = statement({"name": [{"family": "Rossi"}]}, rank=10)
    lab = statement({"name": [{"family": "ROSSI"}], "gender": "male"})

    ended = fold((adt, "2026-01-01", 1), (lab, "2026-02-01", 2))

    assert (ended["name"][0]["family"], ended["gender"]) == ("Rossi", "male")


def test_a_corrected_observation_replaces_the_whole_one_its_flag_included():
    high = statement({"status": "final", "interpretation": [{"text": "H"}], "valueInteger": 9}, kind="Observation")
    right = statement({"status": "corrected", "valueString": "normal"}, kind="Observation")

    ended = fold((high, "2026-01-01", 1), (right, "2026-01-02", 2))

    assert ended == {"resourceType": "Observation", "id": "r1", "status": "corrected", "valueString": "normal"}


def test_a_provisional_result_never_replaces_a_final_one():
    final = statement({"status": "final", "valueString": "a"}, kind="Observation")
    late = statement({"status": "preliminary", "valueString": "b"}, kind="Observation")

    merged = merge(first(final, "1", 1), late, clock_of(late, "2", 2))

    assert (merged.changed, merged.regressed) == (False, True)


def test_another_type_of_the_same_choice_takes_the_place_of_the_first():
    boolean = statement({"deceasedBoolean": True})
    dated = statement({"deceasedDateTime": "2026-01-05"})

    ended = fold((boolean, "2026-01-01", 1), (dated, "2026-01-06", 2))

    assert "deceasedBoolean" not in ended
    assert ended["deceasedDateTime"] == "2026-01-05"


def test_a_report_keeps_the_results_of_an_earlier_message():
    def report(*results: str) -> Statement:
        body = {"status": "final", "result": [{"reference": f"Observation/{name}"} for name in results]}
        return statement(body, kind="DiagnosticReport")

    ended = fold((report("b", "a"), "2026-01-01", 1), (report("a"), "2026-01-02", 2))

    assert [item["reference"] for item in ended["result"]] == ["Observation/b", "Observation/a"]


def test_translating_a_message_again_takes_back_what_it_no_longer_says():
    before = statement({"gender": "male", "birthDate": "2020-01-01"})
    again = statement({"gender": "male"})

    assert "birthDate" not in fold((before, "2026-01-01", 1), (again, "2026-01-01", 1))


elements = st.dictionaries(
    st.sampled_from(["gender", "birthDate", "deceasedBoolean", "deceasedDateTime", "language"]),
    st.sampled_from(["x", "y", "z"]),
    max_size=3,
).filter(lambda body: not {"deceasedBoolean", "deceasedDateTime"} <= body.keys())
said = st.tuples(elements, st.integers(0, 1), st.sets(st.sampled_from(["gender", "language"]), max_size=1))


@pytest.mark.parametrize("kind", ["Patient", "Observation"])
@given(st.lists(said, min_size=2, max_size=4))
def test_the_order_of_arrival_does_not_matter(kind, messages):
    statements = [
        (statement(body, rank=rank, removes=tuple(gone - body.keys()), kind=kind), f"2026-01-0{number}", number)
        for number, (body, rank, gone) in enumerate(messages, 1)
    ]

    ends = [fold(*order) for order in permutations(statements)]

    assert all(end == ends[0] for end in ends)
