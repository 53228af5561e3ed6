"""What every command shares: the app, the configuration option, how lines and tables are printed."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, TextIO, cast
from uuid import UUID

import structlog
import typer

from gateway import __version__
from gateway.bootstrap.parts import open_store
from gateway.cli.unfailing import Unfailing
from gateway.ports import Store
from gateway.settings import Settings, load

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hospital HL7 v2 in, FHIR released and delivered to trial systems.",
)

_EVERY_SECONDS: Final = 10.0

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="GATEWAY_CONFIG", help="Configuration folder. Default: the shipped example."),
]
As = Annotated[str, typer.Option("--as", help="Who looks, for the audit trail, where several people use one account.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document per line instead of a table.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Hospital HL7 v2 in, FHIR released and delivered to trial systems."""
    if version:
        out(f"gateway {__version__}")
        raise typer.Exit


def shipped_config() -> Path:
    """Return the folder of the shipped example configuration."""
    return Path(str(resources.files("fixtures"))) / "config"


def settings_of(config: Path | None) -> Settings:
    """Read the configuration folder and the environment. Raises ``ConfigurationError``; see ``gateway check``.

    Data of the shipped example are kept in ``gateway-data`` below the current folder: the package's own folder is not
    there to be written into.
    """
    environment = dict(os.environ)
    if config is None:
        environment.setdefault("GATEWAY_DATA", str(Path.cwd() / "gateway-data"))
    settings = load(config or shipped_config(), environment)
    settings.require_valid()
    return settings


@contextmanager
def store_of(config: Path | None, *, write: bool = False) -> Iterator[tuple[Settings, Store]]:
    """Open the store, only to look unless ``write``; a command that writes cannot share an embedded database."""
    settings = settings_of(config)
    store = open_store(settings, read_only=not write)
    try:
        store.check_schema()
        yield settings, store
    finally:
        store.close()


def actor(on_behalf_of: str = "") -> str:
    """Who runs this command, for the audit trail: the account, and who says to be using it."""
    account = f"{getpass.getuser()} at the command line"
    return f"{on_behalf_of} ({account})" if on_behalf_of else account


def require_id(option: str, reference: str) -> None:
    """Our ids are UUIDs; a record number is not one, and is never an argument."""
    try:
        UUID(reference.rpartition("/")[2] or str(UUID(int=0)))
    except ValueError:
        said = "that is no id of ours; `gateway messages show ID` lists those a message wrote"
        raise typer.BadParameter(said, param_hint=option) from None


def out(line: str = "") -> None:
    """Print one line for a person or a pipe."""
    sys.stdout.write(line + "\n")


def complain(line: str) -> None:
    """Say on stderr what was refused or failed: where, what, how to mend."""
    sys.stderr.write(line + "\n")


def rows(records: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print records as an aligned table, or as JSON lines."""
    if as_json:
        for record in records:
            out(json.dumps(record, default=str, ensure_ascii=False))
        return
    if not records:
        out(empty)
        return
    heads = list(records[0])
    cells = [[_cell(record[head]) for head in heads] for record in records]
    widths = [max(len(head), *(len(row[column]) for row in cells)) for column, head in enumerate(heads)]
    for row in [[head.replace("_", " ") for head in heads], *cells]:
        out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(value)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far long work is: a bar on a terminal, else lines. Yields what is told how much is done."""
    if not sys.stderr.isatty():
        yield _lines(what, total)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(what: str, total: int) -> Callable[[int], None]:
    """Return what writes a line about long work every ten seconds."""
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_SECONDS:
            last = time.monotonic()
            complain(f"{what}: {done} of {total}")

    return tell


def log_to_stderr(level: str = "info", *, as_json: bool = False) -> None:
    """Write structured log lines to stderr."""
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
