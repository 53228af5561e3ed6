"""The inspector's questions: is the trail intact, who received what of a person, was anything lost or doubled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.bootstrap.inspection import verdict_of
from gateway.cli.base import Config, Json, app, complain, out, progress, rows, store_of

audit = typer.Typer(no_args_is_help=True, help="The audit trail.")
app.add_typer(audit, name="audit")

SHOWN = 20
"""Findings written on stderr; with --json there are more."""


@audit.command("verify")
def verify_audit(
    anchor: Annotated[
        Path | None, typer.Option(help="File naming a seal that must be there. Default: the one in the data folder.")
    ] = None,
    seal: Annotated[str, typer.Option(help="A seal that must be there, NUMBER:MAC, as the log line told it.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare every sealed row with its seal: whether one was changed, taken away or put in, or the end cut off."""
    with store_of(config) as (settings, store), progress("seals", 0) as tell:
        verdict = verdict_of(settings, store, seal, anchor, tell)
    if as_json:
        out(json.dumps(verdict.as_json()))
    else:
        sealed = ", ".join(f"{count} {ledger}" for ledger, count in verdict.rows.items()) or "nothing"
        newest = f", the newest of {verdict.sealed_at.isoformat(' ', 'seconds')}" if verdict.sealed_at else ""
        out(f"{'intact' if verdict.intact else 'NOT INTACT'}: {verdict.seals} seals{newest}, over {sealed}")
        out("not sealed yet: " + ", ".join(f"{count} {ledger}" for ledger, count in verdict.unsealed.items()))
    for misfit in verdict.misfits[:SHOWN]:
        complain(misfit.what)
    if not verdict.intact:
        raise typer.Exit(1)


@audit.command("list")
def list_audit(
    subject: Annotated[str, typer.Option(help="About this row only, such as message/12 or delivery/3.")] = "",
    action: Annotated[str, typer.Option(help="Of this kind only, such as viewed or withheld.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to list.")] = 50,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List lines of the audit trail, newest first."""
    with store_of(config) as (_, store), store.begin(write=False) as tx:
        found = tx.audit.find(subject=subject, action=action, limit=limit)
    names = ("at", "action", "actor", "subject", "detail")
    records = [{name: getattr(event, name) for name in names} for event in found]
    rows(records, as_json=as_json, empty="no line matches")
