"""What the fictional year comes to: the newest version of everything, and what each recipient holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir import codec
from gateway.fhir.checks import check
from tests.story import EXPECTED_RECEIVED, EXPECTED_STATE, Year, normalised, play, settings, state_of, text_of


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    played = play(settings(tmp_path_factory.mktemp("year")))
    yield played
    played.store.close()


def _expected(path: Path, found: dict[str, Any], *, update: bool) -> Any:
    if update:
        path.write_text(text_of(found), "utf-8")
    return codec.decode(path.read_bytes())


def test_after_the_year_the_store_holds_the_expected_resources(year: Year, update: bool) -> None:
    found = state_of(year.store)
    assert found == _expected(EXPECTED_STATE, found, update=update)


def test_after_the_year_each_recipient_holds_what_it_may_and_nothing_else(year: Year, update: bool) -> None:
    found = {
        f"{recipient} {reference}": resource
        for recipient, held in sorted(year.received.items())
        for reference, resource in normalised(held).items()
    }
    for resource in found.values():
        check(resource)
    assert found == _expected(EXPECTED_RECEIVED, found, update=update)
