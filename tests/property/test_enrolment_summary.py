"""What the summary of enrolments tells gives no small number away, not even to who knows how it is made."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.services.enrolment_summary import Enrolled, is_told, pooled, summary

LABELS = "abcd"


def told(counts, least):
    """What is told of a table: the total and the numbers of what is not pooled."""
    hidden = pooled(counts, least)
    return sum(counts.values()), tuple((value, counts[value]) for value in sorted(counts) if value not in hidden)


@pytest.mark.parametrize(
    ("least", "categories", "most"), [(2, 3, 8), (3, 3, 12), (3, 4, 8), (4, 4, 7), (5, 3, 14), (5, 4, 8)]
)
def test_nobody_can_work_a_hidden_number_out(least, categories, most):
    """Every table of a size is made; those that are told alike differ in each number that is not told."""
    alike = defaultdict(list)
    for numbers in product(range(most + 1), repeat=categories):
        if is_told(sum(numbers), least):
            counts = {value: number for value, number in zip(LABELS, numbers, strict=False) if number}
            alike[told(counts, least)].append(counts)
    for (_, shown), tables in alike.items():
        for value in set(LABELS[:categories]) - {value for value, _ in shown}:
            possible = {counts.get(value, 0) for counts in tables}
            assert possible == {0} or len(possible) > 1, (shown, tables)


subjects = st.lists(
    st.builds(
        Enrolled,
        st.sampled_from(["on-study", "off-study", "withdrawn"]),
        st.sampled_from("ABC"),
        st.sampled_from("123456"),
    ),
    max_size=60,
)


@given(subjects, st.integers(1, 8))
def test_no_number_below_the_threshold_is_told_and_all_add_up(found, least):
    parameters = {one["name"]: one for one in summary("ResearchStudy/1", found, least)["parameter"]}

    if not is_told(len(found), least):
        assert parameters.keys() == {"study", "suppressed"}
        return
    assert parameters["total"]["valueInteger"] == len(found)
    for table in ("status", "site", "month"):
        numbers = {cell["name"]: cell["valueInteger"] for cell in parameters[table]["part"]}
        assert sum(numbers.values()) == len(found)
        assert all(number >= least for number in numbers.values())


@given(subjects)
def test_without_a_threshold_every_number_is_told(found):
    parameters = {one["name"]: one for one in summary("ResearchStudy/1", found, 1)["parameter"]}

    assert "other" not in {cell["name"] for cell in parameters["status"]["part"]}
