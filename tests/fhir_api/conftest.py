"""Units that have lived through the year, one embedded and one on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.fhir_api.unit import lived


@pytest.fixture(scope="package")
def unit(tmp_path_factory):
    """The unit on SQLite."""
    with lived(tmp_path_factory.mktemp("lived")) as found:
        yield found


@pytest.fixture(scope="package")
def server_unit(tmp_path_factory, new_postgres_database):
    """The unit on PostgreSQL."""
    with lived(tmp_path_factory.mktemp("lived"), new_postgres_database()) as found:
        yield found
