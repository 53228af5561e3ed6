"""The operator's work: what waits, what happened to a message or a delivery, which codes have no map."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.bootstrap.inspection import viewed
from gateway.bootstrap.operator import Replayer, explanation_of, map_gap, status_of
from gateway.cli.base import As, Config, Json, actor, app, complain, out, require_id, rows, store_of
from gateway.errors import GatewayError
from gateway.model.delivery import DeliveryState
from gateway.model.message import Message, MessageState
from gateway.ports import MessageFilter
from gateway.services.map_code import Mapping

messages = typer.Typer(no_args_is_help=True, help="The received messages.")
deliveries = typer.Typer(no_args_is_help=True, help="What is owed to the recipients.")
gaps = typer.Typer(no_args_is_help=True, help="Codes, units and authorities without a map.")
app.add_typer(messages, name="messages")
app.add_typer(deliveries, name="deliveries")
app.add_typer(gaps, name="gaps")

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many to list.")]


@app.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """Show queue depths, the oldest waiting message and delivery, and each recipient's circuit."""
    with store_of(config) as (settings, store):
        lines = status_of(settings, store, datetime.now(UTC))
    rows(lines, as_json=as_json, empty="no feed and no recipient is configured")


@app.command()
def explain(
    recipient: Annotated[str, typer.Option(help="Whose part is asked about.")],
    patient: Annotated[str, typer.Option(help="Id of the Patient, as `messages show` lists it.")] = "",
    message: Annotated[int | None, typer.Option(help="Id of a message.")] = None,
    resource: Annotated[str, typer.Option(help="Reference, Type/id.")] = "",
    on_behalf_of: As = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Explain what a recipient got, what not, and which rule said so. That it was asked is noted."""
    if sum((bool(patient), message is not None, bool(resource))) != 1:
        raise typer.BadParameter("name one of --patient, --message and --resource")
    with store_of(config) as (settings, store):
        _known(recipient, settings.recipients, "recipient")
        require_id("--patient", patient)
        require_id("--resource", resource)
        subject = f"message/{message}" if message is not None else resource or f"Patient/{patient.rpartition('/')[2]}"
        viewed(settings, store, actor(on_behalf_of), subject, f"explain to {recipient}")
        explained = explanation_of(settings, store, recipient, patient=patient, message=message, resource=resource)
    if as_json:
        out(json.dumps(explained.as_json(), ensure_ascii=False))
    else:
        out("\n".join(explained.lines()))
    if explained.note and not explained.resources:
        raise typer.Exit(1)


@messages.command("list")
def list_messages(
    feed: Annotated[str, typer.Option(help="Of this feed only.")] = "",
    state: Annotated[MessageState | None, typer.Option(help="In this state only.")] = None,
    control_id: Annotated[str, typer.Option(help="With this MSH-10.")] = "",
    hours: Annotated[float | None, typer.Option(min=0, help="Received in the last so many hours.")] = None,
    limit: Limit = 50,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List messages, newest first."""
    since = datetime.now(UTC) - timedelta(hours=hours) if hours is not None else None
    with store_of(config) as (settings, store), store.begin(write=False) as tx:
        _known(feed, settings.feeds, "feed")
        found = tx.messages.find(MessageFilter(feed=feed, state=state, control_id=control_id, since=since, limit=limit))
    rows([_summary(message) for message in found], as_json=as_json, empty="no message matches")


@messages.command("show")
def show_message(
    message: Annotated[int, typer.Argument(help="Id of the message.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the bytes as they came (personal data).")] = False,
    on_behalf_of: As = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show one message: what it was answered, what became of it, what it wrote. That it was shown is noted."""
    with store_of(config) as (settings, store):
        with store.begin(write=False) as tx:
            found = tx.messages.get(message)
            written = tx.resources.of_message(message) if found else []
        if found is None:
            complain(f"message {message}: there is none")
            raise typer.Exit(1)
        viewed(settings, store, actor(on_behalf_of), f"message/{message}", "as it came" if raw else "what it became")
    if raw:
        out(base64.b64encode(found.raw).decode() if as_json else _printable(found.raw))
        return
    record = _summary(found) | {"settled_at": found.settled_at, "acknowledgment": _code(found.acknowledgment)}
    rows([record], as_json=as_json, empty="")
    if not as_json:
        out(f"\nwrote {len(written)} resource versions:" if written else "\nwrote nothing")
    rows([{"resource": item.reference, "version": item.version, "held": item.held} for item in written],
         as_json=as_json, empty="")  # fmt: skip


@messages.command("replay")
def replay_message(
    message: Annotated[int, typer.Argument(help="Id of the message.")],
    recipient: Annotated[
        str, typer.Option(help="Send its result again to this recipient; without: translate again.")
    ] = "",
    config: Config = None,
) -> None:
    """Translate a stored message again, or send what it wrote once more to one recipient, with the settings of now."""
    with store_of(config, write=True) as (settings, store):
        said = Replayer(settings, store, actor()).message(message, recipient)
    out(said)


@deliveries.command("list")
def list_deliveries(
    recipient: Annotated[str, typer.Option(help="To this recipient only.")] = "",
    state: Annotated[DeliveryState | None, typer.Option(help="In this state only.")] = None,
    limit: Limit = 50,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List deliveries (one per view and patient), newest first."""
    with store_of(config) as (settings, store), store.begin(write=False) as tx:
        _known(recipient, settings.recipients, "recipient")
        found = tx.deliveries.find(recipient=recipient, state=str(state or ""), limit=limit)
    rows([_delivery(delivery) for delivery in found], as_json=as_json, empty="no delivery matches")


@deliveries.command("show")
def show_delivery(
    delivery: Annotated[int, typer.Argument(help="Id of the delivery.")], config: Config = None, as_json: Json = False
) -> None:
    """Show one delivery and its attempts."""
    with store_of(config) as (_, store), store.begin(write=False) as tx:
        found = tx.deliveries.get(delivery)
        attempts = tx.deliveries.attempts(delivery) if found else []
    if found is None:
        complain(f"delivery {delivery}: there is none")
        raise typer.Exit(1)
    rows([_delivery(found)], as_json=as_json, empty="")
    records = [
        {
            "started_at": attempt.started_at,
            "delivery_id": f"{attempt.delivery}-{attempt.number}",
            "outcome": attempt.outcome,
            "entries": len(attempt.manifest),
            "grounds": attempt.grounds,
            "detail": attempt.detail,
        }
        for attempt in attempts
    ]
    if not as_json:
        out()
    rows(records, as_json=as_json, empty="no attempt yet")


@deliveries.command("replay")
def replay_delivery(
    delivery: Annotated[int, typer.Argument(help="Id of the delivery.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Send all of it again, not only what is still due.")
    ] = False,
    config: Config = None,
) -> None:
    """Try a delivery again now, with its recipient's settings of now."""
    with store_of(config, write=True) as (settings, store):
        said = Replayer(settings, store, actor()).delivery(delivery, everything=everything)
    out(said)


@gaps.command("list")
def list_gaps(
    closed: Annotated[bool, typer.Option("--all", help="Those already mapped too.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what has no map, most frequent first."""
    with store_of(config) as (_, store), store.begin(write=False) as tx:
        found = tx.worklist.gaps(open_only=not closed)
    records = [
        {"id": line.id, "feed": line.feed, **asdict(line.gap), "count": line.count, "last_seen": line.last_seen}
        for line in found
    ]
    rows(records, as_json=as_json, empty="every code has a map")


@gaps.command("map")
def map_one_gap(
    gap: Annotated[int, typer.Argument(help="Id of the gap.")],
    code: Annotated[str, typer.Option(help="Standard code, as system|code (LOINC: http://loinc.org|718-7).")],
    author: Annotated[str, typer.Option(help="Who decides this.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
    display: Annotated[str, typer.Option(help="Display of the code.")] = "",
    ucum: Annotated[str, typer.Option(help="Canonical unit (UCUM).")] = "",
    valid_from: Annotated[str, typer.Option(help="First day it holds, YYYY-MM-DD.")] = "",
    config: Config = None,
) -> None:
    """Map a code and translate again every message that showed the gap."""
    system, _, value = code.rpartition("|")
    if not system:
        raise typer.BadParameter("write the code as system|code", param_hint="--code")
    begins = _day(valid_from)
    with store_of(config, write=True) as (settings, store):
        mapping = Mapping((system, value, display), ucum, begins, author, reason)
        said = map_gap(settings, store, gap, mapping)
    out(said)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter("write the day as YYYY-MM-DD", param_hint="--valid-from") from None


def _known(name: str, among: Collection[str], kind: str) -> None:
    """Refuse a name that is not configured: an empty list would look like good news."""
    if name and name not in among:
        raise GatewayError(f"no {kind} {name!r}; there are: {', '.join(sorted(among))}")


def _summary(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "received_at": message.received_at,
        "feed": message.feed,
        "control_id": message.control_id,
        "type": message.message_type,
        "state": str(message.state),
        "place": message.place,
        "reason": message.reason,
    }


def _delivery(delivery: Any) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "recipient": delivery.view.recipient,
        "study": delivery.view.study,
        "patient": delivery.patient or "(study)",
        "state": str(delivery.state),
        "sent": delivery.sent,
        "planned": delivery.planned,
        "attempts": delivery.attempts,
        "due_at": delivery.due_at,
        "detail": delivery.detail,
    }


def _code(acknowledgment: bytes) -> str:
    """MSA-1 of the acknowledgment sent."""
    for segment in acknowledgment.split(b"\r"):
        if segment.startswith(b"MSA"):
            return segment[4:6].decode("ascii", "replace")
    return ""


def _printable(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
