"""What of a deployment can be read in clear: database columns, and the arguments of processes."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select

from gateway.store.schema import metadata
from gateway.store.sealed import SEALED


def clear_columns(store):
    """Every column of the database that is not encrypted, as text: table -> its rows."""
    hidden = {sealed.table.name: set(sealed.columns) for sealed in SEALED}
    texts = {}
    with store._backend.reader.begin() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.columns if column.name not in hidden.get(table.name, ())]
            rows = connection.execute(select(*columns)).all()
            texts[table.name] = "\n".join(" | ".join(map(as_text, row)) for row in rows)
    return texts


def as_text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def arguments(group):
    """The command lines of a process and its children, as ``ps`` shows them."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                lines.append((process / "cmdline").read_text().replace("\0", " "))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return "\n".join(lines)
