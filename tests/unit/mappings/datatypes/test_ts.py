from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.datatypes.ts import birth_date, dr_period, period, tm_time, ts_date, ts_datetime, ts_instant, utc_of
from tests.translating import context, field, findings


@pytest.mark.parametrize(
    ("sent", "fhir"),
    [
        ("2025", "2025"),
        ("202503", "2025-03"),
        ("20250312", "2025-03-12"),
        ("202503120815", "2025-03-12T08:15:00+01:00"),
        ("20250712081530", "2025-07-12T08:15:30+02:00"),
        ("20250312081530.1234", "2025-03-12T08:15:30.1234+01:00"),
        ("202503120815+0530", "2025-03-12T08:15:00+05:30"),
        ("202503120815-0000", "2025-03-12T08:15:00-00:00"),
        ("202503120815Z", "2025-03-12T08:15:00+00:00"),
        ("20250312081530^D", "2025-03-12"),
        ("20250312081530^L", "2025-03"),
        ("20250312081530^Y", "2025"),
        ("20250312081530^S", "2025-03-12T08:15:30+01:00"),
        ("202510260230+0200", "2025-10-26T02:30:00+02:00"),
        ("202510260230+0100", "2025-10-26T02:30:00+01:00"),
        ("202510260130", "2025-10-26T01:30:00+02:00"),
        ("202510260300", "2025-10-26T03:00:00+01:00"),
        ("202503300230+0100", "2025-03-30T02:30:00+01:00"),
        ("202503300330", "2025-03-30T03:30:00+02:00"),
        ("20240229", "2024-02-29"),
        ("202402292359", "2024-02-29T23:59:00+01:00"),
        ("20000229", "2000-02-29"),
    ],
)
def test_precision_and_offset_are_kept(sent, fhir):
    made = context()

    assert ts_datetime(field(sent), made) == fhir
    assert not made.findings


@pytest.mark.parametrize(
    ("sent", "zone", "offset"),
    [
        ("202507011200", "Europe/Istanbul", "+03:00"),
        ("202507011200", "Asia/Kolkata", "+05:30"),
        ("202501011200", "America/Sao_Paulo", "-03:00"),
        ("202307011200", "Africa/Cairo", "+03:00"),
        ("202207011200", "Africa/Cairo", "+02:00"),
        ("189001010000", "Europe/Rome", "+00:50"),
    ],
)
def test_a_time_without_offset_has_that_of_the_zone_on_that_day(sent, zone, offset):
    assert ts_datetime(field(sent), context(zone=zone))[-6:] == offset


def test_an_hour_without_minutes_is_kept_as_a_date_and_said():
    made = context()

    assert ts_datetime(field("2025031208"), made) == "2025-03-12"
    assert findings(made) == ["an hour without minutes: kept as a date"]


def test_a_time_that_occurs_twice_is_the_earlier_one_and_said_each_time():
    made = context()

    assert ts_datetime(field("202510260230"), made) == "2025-10-26T02:30:00+02:00"
    assert "ambiguous" in findings(made)[0]
    made.findings.clear()
    assert ts_datetime(field("202510260230"), made) == "2025-10-26T02:30:00+02:00"
    assert made.findings


def test_a_time_that_the_clocks_jump_over_is_said():
    made = context()

    assert ts_datetime(field("202503300230"), made) == "2025-03-30T02:30:00+01:00"
    assert findings(made) == ["this time does not occur: the clocks go forward over it"]


@pytest.mark.parametrize(
    "sent",
    [
        "20250230",
        "20250229",
        "19000229",
        "202302291015",
        "20251301",
        "2025031225",
        "202503121260",
        "00000101",
        "14/03/19",
        "yesterday",
        "2025-03-12",
        "202503120815+9900",
        "20250",
        "２０２５",
    ],
)
def test_what_is_no_date_is_left_out_and_said_without_the_value(sent):
    made = context()

    assert ts_datetime(field(sent), made) is None
    assert len(made.findings) == 1
    assert sent not in findings(made)[0]


@pytest.mark.parametrize(
    ("layout", "sent", "fhir"),
    [
        ("%d/%m/%y", "14/03/19", "2019-03-14"),
        ("%d.%m.%Y %H:%M", "12.03.2025 08:15", "2025-03-12T08:15:00+01:00"),
        ("%m/%Y", "03/2019", "2019-03"),
    ],
)
def test_a_layout_of_the_sites_own_is_read_where_the_profile_says_so(layout, sent, fhir):
    made = context(date_formats=(layout,))

    assert ts_datetime(field(sent), made) == fhir
    assert not made.findings


def test_a_date_drops_the_time_of_day():
    assert ts_date(field("20250312081530"), context()) == "2025-03-12"


def test_an_instant_needs_a_time_of_day():
    made = context()

    assert ts_instant(field("20250312"), made) is None
    assert ts_instant(field("202503120815"), made) == "2025-03-12T08:15:00+01:00"
    assert len(made.findings) == 1


@pytest.mark.parametrize(
    ("sent", "fhir", "held"),
    [
        ("20190314", "2019-03-14", ""),
        ("201903141015", "2019-03-14", ""),
        ("2019", "2019", ""),
        ("20240229", "2024-02-29", ""),
        ("20230229", None, "unreadable birth date"),
        ("19000101", None, ""),
        ("14430915", "1443-09-15", "implausible birth date"),
        ("25620314", "2562-03-14", "implausible birth date"),
        ("18991231", "1899-12-31", "implausible birth date"),
        ("14/03/19", None, "unreadable birth date"),
    ],
)
def test_a_birth_date_that_cannot_be_is_held_and_one_that_means_unknown_left_out(sent, fhir, held):
    made = context()
    made.current = made.draft("Patient", "p")

    assert birth_date(field(sent), made) == fhir
    assert made.current.held == held
    assert bool(made.findings) == (fhir is None or bool(held))


@pytest.mark.parametrize(
    ("sent", "fhir"),
    [("0815", "08:15:00"), ("081530.25", "08:15:30.25"), ("0815+0100", "08:15:00"), ("08", None), ("2515", None)],
)
def test_a_time_of_day_needs_minutes(sent, fhir):
    assert tm_time(field(sent), context()) == fhir


def test_a_range_of_dates_is_a_period():
    assert dr_period(field("20250301^20250312"), context()) == {"start": "2025-03-01", "end": "2025-03-12"}
    assert dr_period(field("^20250312"), context()) == {"end": "2025-03-12"}
    assert dr_period(field("^"), context()) is None


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [
        ("2025-03-12", "2025-03-11", False),
        ("2025-03-12", "2025-03", True),
        ("2025-03-12T08:00:00+01:00", "2025-03-12", True),
        ("2025-03-12T08:00:00+01:00", "2025-03-12T07:30:00+00:00", True),
        ("2025-03-12T08:00:00+01:00", "2025-03-12T07:30:00+01:00", False),
    ],
)
def test_an_end_before_the_start_is_left_out(start, end, kept):
    made = context()

    assert ("end" in period(start, end, made)) == kept
    assert bool(made.findings) != kept


MOMENTS = st.datetimes(datetime.fromisoformat("1950-01-01"), datetime.fromisoformat("2100-01-01"))
ZONES = st.sampled_from(["Europe/Rome", "America/New_York", "Asia/Kolkata", "Africa/Cairo"])


@given(MOMENTS, ZONES)
def test_every_time_names_the_moment_the_zone_says(moment, zone):
    made = ts_datetime(field(moment.strftime("%Y%m%d%H%M%S")), context(zone=zone))

    meant = moment.replace(microsecond=0, tzinfo=ZoneInfo(zone))
    assert utc_of(made, ZoneInfo("UTC")).isoformat() == meant.astimezone(UTC).isoformat()
