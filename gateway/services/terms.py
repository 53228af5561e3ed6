"""What a recipient's file says of its entitlement, as the audit trail keeps it, and what is new in a changed one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from gateway.model.recipient import Recipient
from gateway.ports import AuditEvent
from gateway.release.policy import file_digest

FILE: Final = "recipient file"
"""The action of the audit line that says under which file a recipient's views were planned last."""

CHANGED: Final = "recipient-file-changed"
"""The action of the audit line that says what is new in it."""


def digest_of(line: AuditEvent) -> str:
    """Return the digest that a line of the action ``FILE`` notes."""
    return line.detail.partition(" ")[0]


def file_lines(file: Recipient, before: AuditEvent | None, now: datetime) -> list[AuditEvent]:
    """Return the lines that note a file: its digest and terms, and what is new since the line ``before``."""
    subject, digest, terms = f"recipient/{file.id}", file_digest(file), _terms(file)
    detail = f"{digest} {json.dumps(terms, sort_keys=True, separators=(',', ':'))}"
    lines = [AuditEvent(now, FILE, "gateway", subject, detail)]
    if before is not None:
        _, _, earlier = before.detail.partition(" ")
        words = "; ".join(_differences(json.loads(earlier), terms)) if earlier else "its terms were not noted then"
        lines.append(AuditEvent(now, CHANGED, "configuration", subject, f"{digest_of(before)} to {digest}: {words}"))
    return lines


def _terms(file: Recipient) -> dict[str, Any]:
    terms: dict[str, Any] = {
        "studies": sorted(file.studies),
        "statuses": sorted(file.statuses),
        "identity": file.identity,
        "blinded": file.blinded,
        "purpose": file.purpose,
        "look_back": str(file.look_back),
        "fhir_version": file.fhir_version,
        "delivery": file.delivery,
    }
    for kind, rule in file.release.items():
        terms[f"release.{kind}.elements"] = sorted(rule.elements)
        terms[f"release.{kind}.codes"] = sorted(rule.codes)
    return terms


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old or new, list):
            gone, come = sorted(set(old or ()) - set(new or ())), sorted(set(new or ()) - set(old or ()))
            yield f"{name} " + " ".join([f"+{each}" for each in come] + [f"-{each}" for each in gone])
        else:
            yield f"{name} {old} -> {new}"
