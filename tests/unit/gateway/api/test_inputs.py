"""What an operation is asked with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.api.fhir.inputs import Inputs
from gateway.errors import RequestRefused


def test_an_instant_is_read_in_its_zone():
    assert Inputs([("_since", "2026-03-01T02:00:00+02:00")]).instant("_since") == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01", "2026-03-01T00:00:00", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_moment_of_ours_is_refused_by_the_name_of_the_parameter(text):
    with pytest.raises(RequestRefused) as refused:
        Inputs([("_since", text)]).instant("_since")
    assert (refused.value.status, refused.value.expression) == (400, ("_since",))
