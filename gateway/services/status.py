"""What waits where, and whom the gateway no longer calls: the answer to "is it all right?"."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from gateway.model.alert import Alert
from gateway.model.subscription import Subscription, SubscriptionState
from gateway.ports import Process, Store

SILENT_SECONDS: Final = 30.0
"""A process not heard of for longer is reported; it says that it runs every 10 s."""


def status_lines(store: Store, feeds: Iterable[str], recipients: Iterable[str], now: datetime) -> list[dict[str, Any]]:
    """Return one line per feed, recipient and subscription: how much waits, the oldest, what is dead, the state."""
    with store.begin(write=False) as tx:
        by_feed = {line.name: line for line in tx.feed_queues()}
        by_recipient = {line.name: line for line in tx.recipient_queues()}
        circuits = {recipient: tx.breakers.get(recipient) for recipient in recipients}
        failed = tx.worklist.holds()
        running = tx.processes.list_all()
        alerts = tx.alerts.list_all()
        subscriptions = tx.subscriptions.every()
    lines = [_alert(alert) for alert in alerts if alert.ended_at is None]
    lines += [_process(process, now) for process in running]
    for kind, names, queues in (("feed", feeds, by_feed), ("recipient", circuits, by_recipient)):
        for name in names:
            line = queues.get(name)
            circuit = circuits.get(name) if kind == "recipient" else None
            lines.append(
                {
                    "kind": kind,
                    "name": name,
                    "waiting": line.waiting if line else 0,
                    "oldest": line.oldest if line else None,
                    "dead": line.dead if line else 0,
                    "state": _circuit(circuit.open_until, circuit.reason, now) if circuit else "",
                }
            )
    lines += [_subscription(one) for one in subscriptions]
    lines.append(
        {"kind": "holds", "name": "for a person", "waiting": len(failed), "oldest": None, "dead": 0, "state": ""}
    )
    return lines


def _alert(alert: Alert) -> dict[str, Any]:
    """One line for a trouble, above everything else; ``oldest`` is since when it lasts."""
    name = f"{alert.trouble} {alert.subject}"
    return {"kind": "trouble", "name": name, "waiting": 0, "oldest": alert.began_at, "dead": 0, "state": alert.detail}


def _process(process: Process, now: datetime) -> dict[str, Any]:
    """One line for a process; ``oldest`` is since when it runs, ``state`` says when it was last heard of."""
    silent = (now - process.seen_at).total_seconds()
    state = "running" if silent < SILENT_SECONDS else f"not heard of for {silent:.0f} s"
    return {
        "kind": "process",
        "name": f"{process.owner}: {' '.join(process.roles)}",
        "waiting": 0,
        "oldest": process.began_at,
        "dead": 0,
        "state": state,
    }


def _subscription(one: Subscription) -> dict[str, Any]:
    """One line for a subscription; one in error waits for its client. ``oldest`` is since when its endpoint fails."""
    return {
        "kind": "subscription",
        "name": f"{one.client} {one.id}",
        "waiting": one.events - one.settled,
        "oldest": one.failed_at,
        "dead": int(one.state is SubscriptionState.ERROR),
        "state": f"{one.state}: {one.detail}" if one.detail else str(one.state),
    }


def _circuit(open_until: datetime | None, reason: str, now: datetime) -> str:
    if open_until is None or open_until <= now:
        return "closed"
    return f"open until {open_until.isoformat(' ', 'seconds')}: {reason}"
