"""``gateway check`` and ``gateway db``: before anything is started."""

from __future__ import annotations

import os

import typer

from gateway.bootstrap.parts import open_store, policy_problems
from gateway.cli.base import Config, app, complain, out, settings_of, shipped_config
from gateway.errors import ConfigurationError
from gateway.settings import load
from gateway.settings.keyfile import readable_by_others

db = typer.Typer(no_args_is_help=True, help="The database's schema.")
app.add_typer(db, name="db")


@app.command()
def check(config: Config = None) -> None:
    """Validate the configuration folder: every error with file and line, nothing started."""
    settings = load(config or shipped_config(), os.environ)
    errors = [*settings.errors, *policy_problems(settings)]
    if settings.key_file and readable_by_others(settings.key_file):
        errors.append(ConfigurationError(str(settings.key_file), "others than its owner may read it: chmod 600"))
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
