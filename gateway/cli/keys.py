"""``gateway keys``: the key file, and rotating the keys that bodies are encrypted under."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap.keys import drop_unused, key_lines, prepare_key
from gateway.bootstrap.keys import rotate as rotate_keys
from gateway.cli.base import Config, Json, actor, app, complain, out, progress, rows, settings_of, store_of
from gateway.settings import create_keys

keys = typer.Typer(no_args_is_help=True, help="The key file, and the keys that bodies are encrypted under.")
app.add_typer(keys, name="keys")


@keys.command()
def create(path: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.")]) -> None:
    """Make a key file (mode 0600). Keep a copy in a safe place: without it the data cannot be read."""
    try:
        create_keys(path)
    except FileExistsError:
        complain(f"{path}: there is a file already; a key file is never overwritten")
        raise typer.Exit(1) from None
    out(f"{path}: made; set GATEWAY_KEY_FILE to it, and keep a copy where the database is not")


@keys.command("list")
def list_keys(config: Config = None, as_json: Json = False) -> None:
    """List the encryption keys and how many rows stand under each. Reads every row."""
    with store_of(config) as (settings, store):
        lines = key_lines(settings, store)
    rows(lines, as_json=as_json, empty="")


@keys.command()
def rotate(
    config: Config = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only add the next key, to copy the file to other machines first.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no new key: encrypt what is not yet under the active one.")
    ] = False,
) -> None:
    """Make a new encryption key active and encrypt every row under it; the other keys never rotate.

    On PostgreSQL the gateway goes on running meanwhile. An SQLite file has one owner: stop the gateway first. Safe to
    interrupt (Ctrl-C) and to go on with later (--resume).
    """
    if prepare:
        name = prepare_key(settings_of(config))
        out(f"key {name} is prepared: copy the key file to every machine, then run gateway keys rotate")
        return
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ends.set())
    with store_of(config, write=True) as (settings, store):
        left = sum(line["rows"] for line in key_lines(settings, store) if not resume or line["state"] != "active")
        with progress("encrypting anew", left) as advance:
            rotation = rotate_keys(settings, store, actor(), resume=resume, stop=ends.is_set, progress=advance)
        lines = key_lines(settings, store)
    for row in rotation.unreadable:
        complain(f"{row}: left as it is, it was changed outside the gateway and cannot be read")
    active = next(line["key"] for line in lines if line["state"] == "active")
    out(f"{rotation.rows} rows encrypted anew; key {active} is active")
    for line in lines:
        if line["state"] == "old" and not line["rows"]:
            out(f"no row uses key {line['key']} any more; older backups do: gateway keys drop {line['key']}")
    if not rotation.finished:
        complain("interrupted; go on with: gateway keys rotate --resume")
    if rotation.unreadable or not rotation.finished:
        raise typer.Exit(1)


@keys.command()
def drop(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Keys, as `gateway keys list` names them.")],
    config: Config = None,
) -> None:
    """Take keys out of the key file that no row uses any more; one that is in use stays.

    Keep the key file as it was with the backups made before: they can be read with it alone.
    """
    with store_of(config, write=True) as (settings, store):
        drop_unused(settings, store, names, actor())
    out(f"dropped: {', '.join(names)}; backups made before need the key file as it was")
