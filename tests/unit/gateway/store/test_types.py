"""Moments, ids and text stand in a column so that they come back the same."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.types import Id, Moment, packed, short, storable, unpacked

DIALECTS = [sqlite.dialect(), postgresql.dialect()]


def there_and_back(kind, value, dialect):
    return kind.process_result_value(kind.process_bind_param(value, dialect), dialect)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(moment=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_a_moment_comes_back_as_the_same_moment_in_utc(dialect, moment):
    back = there_and_back(Moment(), moment, dialect)
    assert back == moment
    assert back.tzinfo is UTC


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_moment_without_a_zone_is_refused(dialect):
    with pytest.raises(ValueError, match="time zone"):
        Moment().process_bind_param(datetime(2026, 1, 1), dialect)  # noqa: DTZ001 - this is what is refused


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("id", ["", "6ba7b810-9dad-51d1-80b4-00c04fd430c8"])
def test_an_id_comes_back_as_it_was(dialect, id):
    assert there_and_back(Id(), id, dialect) == id


@pytest.mark.parametrize(
    "wrong", ["x", "Patient/1", "6ba7b810-9dad-51d1-80b4-00c04fd430", "6ba7b8109dad51d180b400c04fd430c8ff"]
)
def test_what_is_no_uuid_is_refused(wrong):
    with pytest.raises(ValueError, match=r"UUID|hexadecimal"):
        packed(wrong)


@given(st.binary(min_size=16, max_size=16))
def test_sixteen_bytes_come_back(raw):
    assert packed(unpacked(raw)) == raw


@given(st.text(st.characters(categories=["L", "N", "Cc", "Cs", "P"])))
def test_storable_text_can_be_encoded_and_stays_as_it_is(text):
    once = storable(text)
    once.encode()
    assert "\x00" not in once
    assert storable(once) == once
    assert short(short(once)) == short(once)
