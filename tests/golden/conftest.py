"""``pytest tests/golden --update`` writes the expected files anew; read what ``git diff`` then shows."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update``."""
    parser.addoption("--update", action="store_true", help="write the expected files of tests/golden anew")


@pytest.fixture(scope="session")
def update(request: pytest.FixtureRequest) -> bool:
    """Whether the expected files are to be written instead of compared with."""
    return bool(request.config.getoption("--update", default=False))
