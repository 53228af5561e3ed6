"""A trial system with a FHIR REST server: one transaction Bundle for each attempt (FHIR R4, 3.1.0.11).

Only ids that the gateway made stand in URLs: ``Type/<id of the view>``, or with ``search_by_identifier`` a conditional
update by subject number or study id. The record number of a hospital never does, whatever the recipient may read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from adapters.recipient.bodies import is_deleted, text_for
from adapters.recipient.client import Answer, Client
from adapters.recipient.http import CONFLICT, FHIR_JSON, client_for, exchange, outcome_of, secret_of
from gateway.errors import InvalidResource
from gateway.fhir import bundle, codec
from gateway.model.delivery import (
    Accepted,
    Deferred,
    Outcome,
    Package,
    Refused,
    RefusedEntry,
    Released,
    Unknown,
)
from gateway.model.names import STUDY_ID, SUBJECT_NUMBER
from gateway.model.recipient import Recipient

GONE: Final = frozenset({404, 410})
NO_ENTRY: Final = frozenset({400, 404, 405, 410, 413, 415, 422})
"""Answers to a single entry that concern this entry alone."""

TRANSACTION: Final = b'{"resourceType":"Bundle","type":"transaction","entry":[%b]}'
NOTHING: Final[Mapping[str, str]] = {}

BEGUN_KEPT: Final = 200
"""Unfinished Bundles whose progress is remembered; of an older one each entry is sent once more."""

READING_SECONDS: Final = 10.0
"""How long a repeat reads; what it did not get to see is sent again."""

_PLAIN: Final = re.compile(r"[A-Za-z]{1,60}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A reference whose id is a UUID: nothing in it needs an escape, and its ``fullUrl`` names the same id."""

_ISSUE_CODE: Final = re.compile(r"[a-z][a-z-]{1,30}")
_EXPRESSION: Final = re.compile(r"[A-Z][A-Za-z]{1,60}(\.[a-z][A-Za-z]{0,60}(\[\d{1,4}\])?){0,8}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry as it goes over the wire; ``text`` None: delete."""

    released: Released
    url: str
    text: bytes | None

    @property
    def bundled(self) -> bytes:
        """The entry of a transaction."""
        if self.text is None:
            return codec.encode(bundle.delete(self.released.type, self.released.id))
        if _PLAIN.fullmatch(self.url):
            url = self.url.encode("ascii")
            return b'{"fullUrl":"urn:uuid:%b","resource":%b,"request":{"method":"PUT","url":"%b"}}' % (
                *(url[-36:], self.text, url),
            )
        full_url = codec.encode(bundle.full_url(self.released.type, self.released.id))
        request = codec.encode({"method": "PUT", "url": self.url})
        return b'{"fullUrl":%b,"resource":%b,"request":%b}' % (full_url, self.text, request)


class FhirServer:
    """Delivers to a FHIR server. Thread-safe; close it when done.

    A repeat (``Package.repeat``) reads first: what the server holds as it would be sent is settled without sending.
    """

    def __init__(self, recipient: Recipient, client: Client | None = None) -> None:
        self._recipient = recipient
        self._client = client or client_for(recipient, bearer=secret_of(recipient))
        self._base = recipient.address.rstrip("/")
        self._begun: dict[str, dict[str, Outcome]] = {}

    def deliver(self, package: Package) -> Outcome:
        """Make one attempt; every far-side behaviour maps to one outcome. It ends by the recipient's deadline."""
        until = time.monotonic() + self._recipient.deadline
        entries = self._entries(package)
        if package.repeat and self._holds_all(entries, until):
            return Accepted("was there already")
        content = TRANSACTION % b",".join(entry.bundled for entry in entries)
        headers = {"Idempotency-Key": package.delivery_id, **_named(package)}
        answer = self._ask("POST", self._base, until, content, headers)
        if not isinstance(answer, Answer):
            return answer
        if answer.status in CONFLICT:
            return self._after_conflict(answer, entries, until)
        outcome = outcome_of(answer)
        if isinstance(outcome, Refused):
            return self._one_by_one(package, entries, f"{outcome.detail}{_reason(answer)}", until)
        return _with_refused(outcome, answer, entries) if isinstance(outcome, Accepted) else outcome

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _entries(self, package: Package) -> list[_Entry]:
        """Return the entries to send: of several versions of a resource the last, as a transaction takes one."""
        newest = {released.reference: released for released in package.entries}
        return [self._entry(released) for released in newest.values()]

    def _entry(self, released: Released) -> _Entry:
        if is_deleted(self._recipient, released):
            return _Entry(released, released.reference, None)
        found = _gateway_identifier(codec.decode(released.text)) if self._recipient.search_by_identifier else None
        url = bundle.conditional_url(released.type, found) if found else released.reference
        return _Entry(released, url, text_for(self._recipient, released))

    def _ask(
        self, method: str, url: str, until: float, content: bytes | None = None, headers: Mapping[str, str] = NOTHING
    ) -> Answer | Deferred | Unknown:
        told = {"Accept": FHIR_JSON, **headers}
        if content is not None:
            told["Content-Type"] = f"{FHIR_JSON}; charset=utf-8"
        limit, seconds = self._recipient.max_bytes, until - time.monotonic()
        return exchange(self._client, method, url, content=content, headers=told, max_bytes=limit, seconds=seconds)

    # --- reading before repeating ---

    def _holds_all(self, entries: Sequence[_Entry], until: float) -> bool:
        until = min(until, time.monotonic() + READING_SECONDS)
        return all(time.monotonic() < until and self._holds(entry, until) for entry in entries)

    def _holds(self, entry: _Entry, until: float) -> bool:
        answer = self._ask("GET", f"{self._base}/{entry.released.reference}", until)
        if not isinstance(answer, Answer):
            return False
        if entry.text is None:
            return answer.status in GONE
        if answer.status != 200 or answer.cut:
            return False
        try:
            return same(codec.decode(entry.text), codec.decode(answer.body))
        except InvalidResource:
            return False

    def _after_conflict(self, answer: Answer, entries: Sequence[_Entry], until: float) -> Outcome:
        if self._holds_all(entries, until):
            return Accepted(f"HTTP {answer.status}, was there already")
        return Unknown(f"HTTP {answer.status}")

    # --- entry by entry ---

    def _one_by_one(self, package: Package, entries: Sequence[_Entry], reason: str, until: float) -> Outcome:
        """Send the entries of a refused Bundle one after another; what is refused now is refused for itself.

        A repeat goes on where the last attempt stopped, as far as this process made it.
        """
        settled = self._begun.setdefault(package.delivery_id, {})
        if len(self._begun) > BEGUN_KEPT:
            self._begun.pop(next(iter(self._begun)), None)
        for entry in entries:
            if entry.released.reference in settled:
                continue
            if time.monotonic() > until:
                return Unknown(f"one by one: {len(settled)} of {len(entries)} entries so far")
            outcome = self._send_one(package, entry, until)
            if not isinstance(outcome, Accepted | Refused):
                return Unknown(f"one by one: {outcome.detail}") if settled else outcome
            settled[entry.released.reference] = outcome
        self._begun.pop(package.delivery_id, None)
        refused = [RefusedEntry(ref, one.detail) for ref, one in settled.items() if isinstance(one, Refused)]
        if len(refused) == len(entries):
            return Refused(f"{reason}; every entry is refused, the first with {refused[0].detail}")
        return Accepted(f"one by one after {reason}", tuple(refused))

    def _send_one(self, package: Package, entry: _Entry, until: float) -> Outcome:
        method = "DELETE" if entry.text is None else "PUT"
        answer = self._ask(method, f"{self._base}/{entry.url}", until, entry.text, _named(package))
        if not isinstance(answer, Answer):
            return answer
        if entry.text is None and answer.status in GONE:
            return Accepted("was gone already")
        if answer.status in CONFLICT:
            held = self._holds(entry, until)
            return Accepted("was there already") if held else Refused(f"HTTP {answer.status}{_reason(answer)}")
        if answer.status in NO_ENTRY:
            return Refused(f"HTTP {answer.status}{_reason(answer)}")
        return outcome_of(answer)


def _named(package: Package) -> dict[str, str]:
    return {"X-Gateway-Delivery": package.delivery_id}


def _gateway_identifier(body: dict[str, Any]) -> tuple[str, str] | None:
    """Return the identifier the gateway gave, None where a resource has only others'."""
    for identifier in body.get("identifier", ()):
        system = identifier.get("system", "")
        if identifier.get("value") and (system == STUDY_ID or system.startswith(f"{SUBJECT_NUMBER}/")):
            return system, identifier["value"]
    return None


def same(ours: Any, theirs: Any) -> bool:
    """Whether a server holds what would be sent: all but what a server adds by itself (``meta``, its own ``text``).

    >>> same({"id": "1", "meta": {}}, {"id": "1", "meta": {"versionId": "7"}})
    True
    >>> same({"id": "1"}, {"id": "1", "note": []})
    False
    """
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return False
    added = {"meta"} if "text" in ours else {"meta", "text"}
    return _equal(_without(ours, added), _without(theirs, added))


def _without(resource: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in names}


def _equal(ours: Any, theirs: Any) -> bool:
    """Compare exactly, but 1.50 with 1.5: servers shorten numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_equal(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | Decimal) and isinstance(theirs, int | Decimal):
        return ours == theirs
    return type(ours) is type(theirs) and bool(ours == theirs)


def _with_refused(accepted: Accepted, answer: Answer, entries: Sequence[_Entry]) -> Accepted:
    """Read a transaction-response: an entry whose own status is not 2xx was refused."""
    if answer.cut:
        return Accepted(f"{accepted.detail}, answer too large to read")
    try:
        lines = codec.decode(answer.body).get("entry", []) if answer.body else []
    except (InvalidResource, AttributeError):
        return Accepted(f"{accepted.detail}, answer not readable")
    refused = []
    for entry, line in zip(entries, lines, strict=False):
        status = str(line.get("response", {}).get("status", "200"))[:3] if isinstance(line, dict) else "200"
        if status.isdigit() and not status.startswith("2") and not (entry.text is None and int(status) in GONE):
            refused.append(RefusedEntry(entry.released.reference, f"HTTP {status}"))
    return Accepted(accepted.detail, tuple(refused))


def _reason(answer: Answer) -> str:
    """Return code and element of an OperationOutcome's first error: its words could repeat what was sent."""
    try:
        issues = codec.decode(answer.body)["issue"] if answer.body else []
        issue = next((one for one in issues if one.get("severity") in {"error", "fatal"}), issues[0])
        code, expression = str(issue.get("code", "")), str((issue.get("expression") or [""])[0])
    except (InvalidResource, AttributeError, IndexError, KeyError, TypeError):
        return ""
    told = [text for text, form in ((code, _ISSUE_CODE), (expression, _EXPRESSION)) if form.fullmatch(text)]
    return f" ({' at '.join(told)})" if told else ""
