"""What Alembic runs: the migrations, on the connection it was given, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from gateway.store.schema import metadata

if hasattr(context, "config"):  # imported by anything but Alembic, it does nothing
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
