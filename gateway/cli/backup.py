"""``gateway backup`` and ``gateway restore``: the safety net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap.parts import open_store, utc_now
from gateway.cli.base import Config, actor, app, out, settings_of, store_of
from gateway.ports import AuditEvent


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A folder of its own for this backup; made when it is not there.")],
    config: Config = None,
) -> None:
    """Copy the whole database, as it is at one moment, while the gateway runs.

    Bodies stay encrypted. The key file and the configuration folder are not in it: keep copies of them elsewhere.
    """
    with store_of(config) as (_, store):
        taken = store.backup(folder, utc_now())
    out(f"{folder}: {taken.messages} messages, the newest received at {_moment(taken.newest)}")
    out("the key file is not in it, and without the key file nobody can read it")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="What `gateway backup` wrote.")],
    config: Config = None,
) -> None:
    """Put a backup into an empty database; `gateway serve` then goes on with its work.

    What the backup knows as delivered is not sent again. Messages received after it was taken are not in it.
    """
    store = open_store(settings_of(config))
    try:
        restored = store.restore(folder, utc_now())
        detail = f"taken at {restored.taken_at.isoformat()} by version {restored.program}"
        with store.begin() as tx:
            tx.audit.write([AuditEvent(utc_now(), "restored", actor(), "database", detail)])
    finally:
        store.close()
    out(f"restored: {restored.messages} messages, as they were at {_moment(restored.taken_at)}")
    out(f"let every feed send again what it sent after {_moment(restored.newest)}; repeats are recognised")


def _moment(moment: object) -> str:
    return "-" if moment is None else str(moment)
