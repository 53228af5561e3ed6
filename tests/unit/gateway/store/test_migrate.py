"""The migrations build exactly the tables that the program works with."""

from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select, text

import gateway.store
from gateway.store.schema import HEAD, LANES, REVISIONS, lanes, metadata
from tests.contracts.stores import upgraded

DEFINITIONS = """
    SELECT tablename || ': ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
           || coalesce(column_default, '') || ' ' || is_identity
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'sequence ' || sequencename FROM pg_sequences
"""


def scripts():
    config = Config()
    config.set_main_option("script_location", str(Path(gateway.store.__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config)


def test_the_revisions_are_named_in_the_order_of_the_migrations():
    found = [script.revision for script in scripts().walk_revisions()][::-1]
    assert tuple(found) == REVISIONS
    assert scripts().get_current_head() == HEAD


def differences(engine):
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), metadata)


def test_migrated_sqlite_tables_are_those_of_the_program(tmp_path):
    def definitions(path):
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT name, type, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'"))
            kept = [row for row in rows if "alembic" not in (row.sql or "alembic")]
            return {row.name: defined(connection, row) for row in kept}

    def defined(connection, row):
        """What an object is: an added column stands elsewhere in a table's text, which changes nothing."""
        if row.type != "table":
            return row.sql
        columns = connection.execute(text(f"SELECT * FROM pragma_table_xinfo('{row.name}')"))
        described = sorted((c.name, c.type, c.notnull, c.dflt_value, c.pk) for c in columns)
        return described, "AUTOINCREMENT" in row.sql, row.sql.count("CONSTRAINT")

    upgraded(f"sqlite:///{tmp_path / 'migrated.db'}")
    metadata.create_all(create_engine(f"sqlite:///{tmp_path / 'made.db'}"))
    assert definitions(tmp_path / "migrated.db") == definitions(tmp_path / "made.db")
    assert differences(create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")) == []


def test_migrated_postgresql_tables_are_those_of_the_program(new_postgres_database):
    def definitions(url):
        with psycopg.connect(url) as connection:
            return sorted(row[0] for row in connection.execute(DEFINITIONS) if "alembic" not in row[0])

    migrated, made = upgraded(new_postgres_database()), new_postgres_database()
    engines = [create_engine(url.replace("postgresql:", "postgresql+psycopg:")) for url in (migrated, made)]
    metadata.create_all(engines[1])
    assert definitions(migrated) == definitions(made)
    assert differences(engines[0]) == []
    for engine in engines:
        engine.dispose()


def test_every_lane_has_its_row(tmp_path):
    engine = create_engine(upgraded(f"sqlite:///{tmp_path / 'migrated.db'}"))
    with engine.connect() as connection:
        assert sorted(connection.execute(select(lanes.c.lane)).scalars()) == list(range(LANES))
    engine.dispose()


@pytest.mark.parametrize("times", [2, 3])
def test_upgrading_again_changes_nothing(tmp_path, times):
    for _ in range(times):
        upgraded(f"sqlite:///{tmp_path / 'migrated.db'}")
