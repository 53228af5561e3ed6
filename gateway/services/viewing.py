"""Noting who looked at a person's data: a line of the audit trail, with ids alone.

An embedded database has one owner, so a command beside a running gateway leaves its line in a folder, and the gateway
takes it in; the line is on disk before anything is shown.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from gateway.errors import StoreError
from gateway.ports import AuditEvent, Store

INBOX: Final = "audit-inbox"
"""The folder below the data folder where lines wait for the gateway."""


def note_view(store: Store, inbox: Path | None, event: AuditEvent) -> None:
    """Write a line before the data are shown: into the folder where there is one, else into the database.

    Raises ``StoreError`` when it cannot be written: then nothing may be shown.
    """
    if inbox is None:
        with store.begin() as tx:
            tx.audit.write([event])
        return
    content = asdict(event) | {"at": event.at.isoformat()}
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = inbox / f"{uuid4()}.part"
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content))
            file.flush()
            os.fsync(file.fileno())
        part.rename(part.with_suffix(".json"))
    except OSError as error:
        what = f"{inbox}: the audit line cannot be written ({error.strerror}), so nothing is shown"
        raise StoreError(what) from None


def take_in(store: Store, inbox: Path) -> int:
    """Bring waiting lines into the audit trail and return how many; a crash on the way may bring one twice."""
    files = sorted(inbox.glob("*.json"))
    events = [_event(file) for file in files]
    if events:
        with store.begin() as tx:
            tx.audit.write(sorted(events, key=lambda event: event.at))
    for file in files:
        file.unlink()
    return len(events)


def _event(file: Path) -> AuditEvent:
    """Return a line; one that cannot be read is a line of its own, so that it does not stop the others."""
    try:
        content = json.loads(file.read_text("utf-8"))
        return AuditEvent(**{**content, "at": datetime.fromisoformat(content["at"])})
    except (ValueError, TypeError, KeyError):
        at = datetime.fromtimestamp(file.stat().st_mtime).astimezone()
        return AuditEvent(at, "viewed", "unknown", "unknown", "a line in the inbox could not be read")
