"""``gateway check``, ``gateway keys create`` and ``gateway db``: before anything is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap import open_store, policy_problems
from gateway.cli.base import Config, app, complain, out, settings_of, shipped_config
from gateway.settings import create_keys, load

db = typer.Typer(no_args_is_help=True, help="The database's schema.")
keys = typer.Typer(no_args_is_help=True, help="The key file.")
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")


@app.command()
def check(config: Config = None) -> None:
    """Validate the configuration folder: every error with file and line, nothing started."""
    settings = load(config or shipped_config(), os.environ)
    errors = [*settings.errors, *policy_problems(settings)]
    for error in errors:
        complain(str(error))
    if errors:
        complain(f"{len(errors)} error(s) in {settings.folder}")
        raise typer.Exit(1)
    out(
        f"{settings.folder}: no error in {len(settings.sites)} sites, {len(settings.feeds)} feeds, "
        f"{len(settings.studies)} studies, {len(settings.recipients)} recipients"
    )


@db.command()
def upgrade(config: Config = None) -> None:
    """Bring the database's schema up to this program's version."""
    store = open_store(settings_of(config))
    try:
        store.upgrade()
    finally:
        store.close()
    out("the database is of this program's version")


@db.command("check")
def check_schema(config: Config = None) -> None:
    """Say whether the database's schema is of this program's version."""
    store = open_store(settings_of(config))
    try:
        store.check_schema()
    finally:
        store.close()
    out("the database is of this program's version")


@keys.command()
def create(path: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.")]) -> None:
    """Make a key file (mode 0600). Keep a copy in a safe place: without it the data cannot be read."""
    try:
        create_keys(path)
    except FileExistsError:
        complain(f"{path}: there is a file already; a key file is never overwritten")
        raise typer.Exit(1) from None
    out(f"{path}: made; set GATEWAY_KEY_FILE to it, and keep a copy where the database is not")
