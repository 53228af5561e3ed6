"""The inspector's questions: is the trail intact, who received what of a person, was anything lost or doubled."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.bootstrap.inspection import patient_of, reconciled, verdict_of, viewed
from gateway.cli.base import As, Config, Json, actor, app, complain, out, progress, require_id, rows, store_of
from gateway.ports import Period
from gateway.services.disclose import disclosures
from gateway.services.reconcile import ViewLine

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


@app.command("reconcile")
def reconcile_all(
    since: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD (UTC).")] = "",
    until: Annotated[str, typer.Option(help="Up to this day, itself not counted.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Count everything from raw message to receipt, and name what was lost or doubled: both must be 0."""
    period = Period(_midnight("--since", since), _midnight("--until", until))
    with store_of(config) as (settings, store):
        found = reconciled(settings, store, period)
    if as_json:
        rows(list(found.records()), as_json=True, empty="")
    else:
        rows([asdict(line) for line in found.feeds], as_json=False, empty="no message was received")
        out()
        rows([_view(line) for line in found.views], as_json=False, empty="nothing was ever owed to a recipient")
        out(f"\nlost {len(found.lost)}, doubled {len(found.doubled)}")
    for line in (*found.lost, *found.doubled):
        complain(line)
    if found.lost or found.doubled:
        raise typer.Exit(1)


@app.command("disclosures")
def list_disclosures(
    patient: Annotated[str, typer.Option(help="Id of the Patient, as `messages show` lists it.")] = "",
    identifier: Annotated[
        bool, typer.Option("--identifier", help="Ask for AUTHORITY|VALUE instead (or read it from a pipe).")
    ] = False,
    on_behalf_of: As = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List every recipient that received, or may have received, anything of a person. That it was asked is noted."""
    if bool(patient) == identifier:
        raise typer.BadParameter("name one of --patient and --identifier")
    require_id("--patient", patient)
    with store_of(config) as (settings, store):
        # A record number is no argument: it would stand in a shell's history and in the list of processes.
        id = patient_of(settings, store, _asked()) if identifier else patient.rpartition("/")[2]
        viewed(settings, store, actor(on_behalf_of), f"Patient/{id}", "disclosures")
        found = disclosures(store, id)
    if found is None:
        complain(f"Patient/{id}: there is none")
        raise typer.Exit(1)
    records = [line.as_json() for line in found]
    if not as_json:
        records = [{name: _counted(value) for name, value in record.items()} for record in records]
    rows(records, as_json=as_json, empty="nobody received anything of this person")


def _asked() -> str:
    return typer.prompt("AUTHORITY|VALUE", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()


def _counted(value: Any) -> Any:
    return ", ".join(f"{type} {count}" for type, count in sorted(value.items())) if isinstance(value, dict) else value


def _view(line: ViewLine) -> dict[str, Any]:
    withheld = ", ".join(f"{rule} {count}" for rule, count in sorted(line.withheld.items()))
    return asdict(line) | {"withheld": withheld}


def _midnight(option: str, text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) if text else None
    except ValueError:
        raise typer.BadParameter("write the day as YYYY-MM-DD", param_hint=option) from None


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
