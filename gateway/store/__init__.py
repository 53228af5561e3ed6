"""The database: tables, queries and migrations. SQLAlchemy and Alembic live here and nowhere else."""

from gateway.store.store import create_store

__all__ = ["create_store"]
