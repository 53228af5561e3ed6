"""FHIR R4 3.1.1.4.7: date."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from tests.searching import found, query


def observed(**effective):
    return {"resourceType": "Observation", "id": "1", **effective}


def at(text):
    return observed(effectiveDateTime=text)


@pytest.mark.parametrize(
    ("asked", "has", "is_found"),
    [
        # The table of examples at the page's "date".
        ("eq2013-01-14", "2013-01-14T00:00:00Z", True),
        ("eq2013-01-14", "2013-01-14T10:00:00Z", True),
        ("eq2013-01-14", "2013-01-15T00:00:00Z", False),
        ("ne2013-01-14", "2013-01-15T00:00:00Z", True),
        ("ne2013-01-14", "2013-01-14T00:00:00Z", False),
        ("ne2013-01-14", "2013-01-14T10:00:00Z", False),
        ("lt2013-01-14T10:00Z", "2013-01-14", True),
        ("gt2013-01-14T10:00Z", "2013-01-14", True),
        ("gt2013-01-14T10:00Z", "2013-01-13T12:00:00Z", False),
        ("gt2013-01-14T10:00Z", "2013-01-14T12:00:00Z", True),
        ("ge2013-03-14", "2013-03-14", True),
        ("ge2013-03-14", "2013-03-13", False),
        ("le2013-03-14", "2013-03-14T23:59:59Z", True),
        ("sa2013-03-14", "2013-03-15T00:00:00Z", True),
        ("sa2013-03-14", "2013-03-14", False),
        ("eb2013-03-14", "2013-03-13", True),
        ("eb2013-03-14", "2013-03-14", False),
        ("ap2013-03-14", "2013-03-14", True),
        ("ap2013-03-14", "2013-06-21", False),
        ("2013", "2013-12-31", True),
        ("2013-01-14", "2013-01", False),
        ("2013-02", "2013-02-28T23:59:59.999Z", True),
        ("2013-01-14", "2013-01-15T00:30:00+01:00", True),
        ("2013-01-14T00:30:00+01:00", "2013-01-13T23:30:00Z", True),
        ("2013-01-14T10:00:00.5Z", "2013-01-14T10:00:00.512Z", True),
        ("2013-01-14T10:00:00.512Z", "2013-01-14T10:00:00.5Z", False),
        ("2013-01-14,2014", "2014-07", True),
        ("9999", "9999-12-31", True),
    ],
)
def test_dates_are_ranges(asked, has, is_found):
    assert found(at(has), ("date", asked)) is is_found


@pytest.mark.parametrize(
    ("asked", "start", "end", "is_found"),
    [
        ("ge2013-03-14", "2013-03-14", None, True),
        ("ge2013-03-14", "2010-01-01", None, True),
        ("ge2013-03-14", None, "2010-01-01", False),
        ("le2013-03-14", None, "2020", True),
        ("2013", "2013-01-01", "2013-06-30", True),
        ("2013", "2013-01-01", None, False),
        ("2013", "2012-12-31", "2013-06-30", False),
        ("sa2013", "2014-01-01", None, True),
        ("eb2013", None, "2012-12-31", True),
        ("ne2013", "2013-01-01", None, True),
    ],
)
def test_a_period_without_an_end_goes_on(asked, start, end, is_found):
    period = {name: value for name, value in (("start", start), ("end", end)) if value}

    assert found(observed(effectivePeriod=period), ("date", asked)) is is_found


def test_of_a_schedule_only_the_outer_limits_matter():
    schedule = {"event": ["2013-01-31", "2013-03-24"]}
    bounded = {"repeat": {"boundsPeriod": {"start": "2013-01-31", "end": "2013-03-24"}, "frequency": 1}}

    for timing in (schedule, bounded):
        assert found(observed(effectiveTiming=timing), ("date", "gt2013-02-01"), ("date", "lt2013-02-01"))
        assert not found(observed(effectiveTiming=timing), ("date", "2013-02"))
    assert not found(observed(effectiveTiming={"code": {"text": "daily"}}), ("date", "ge2013"))


def test_a_time_in_a_date_and_a_window_of_two():
    window = (("date", "ge2010-01-01"), ("date", "le2011-12-31"))

    assert found(at("2011-07"), *window)
    assert not found(at("2012-01-01"), *window)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "today",
        "2013-13",
        "2013-02-30",
        "13-01-01",
        "xx2013",
        "2013-01-14T25:00",
        "2013-01-14T10",
        "2013-01-14T10:00:00 01:00",
        "0000",
    ],
)
def test_what_is_no_date_is_refused_and_not_repeated(wrong):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", ("date", wrong))

    assert (refused.value.status, refused.value.expression) == (400, ("date",))
    assert not wrong or wrong not in str(refused.value)


DAYS = st.dates().map(str)


@given(asked=DAYS, has=DAYS)
def test_prefixes_agree_with_the_order_of_days(asked, has):
    expected = {
        "eq": has == asked, "ne": has != asked, "gt": has > asked, "lt": has < asked, "ge": has >= asked,
        "le": has <= asked, "sa": has > asked, "eb": has < asked,
    }  # fmt: skip

    assert {prefix: found(at(has), ("date", prefix + asked)) for prefix in expected} == expected
