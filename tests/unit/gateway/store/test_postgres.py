"""What the gateway wants of a session with PostgreSQL."""

from sqlalchemy import make_url

from gateway.store.postgres import PostgresBackend


def test_queries_are_not_compiled_and_times_are_utc(postgres_url):
    backend = PostgresBackend(make_url(postgres_url))
    with backend.reader.begin() as connection:
        settings = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("jit", "timezone")]
    backend.close()
    assert settings == ["off", "UTC"]
