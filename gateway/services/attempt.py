"""An attempt on its way: what was begun, how it ended, and what is written down of it. No network, no transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from gateway.model.delivery import (
    Accepted,
    Attempt,
    ChangeKind,
    Deferred,
    Delivery,
    ManifestEntry,
    Outcome,
    Package,
    Packed,
    Released,
    Unknown,
    View,
    outcome_name,
)
from gateway.model.recipient import Retry
from gateway.ports import AuditEvent, Breaker, Saved
from gateway.services.settle import accepted, breaker_after, settle

log = structlog.get_logger()

UNDER_WAY: Final = Unknown("under way")


@dataclass(frozen=True, slots=True)
class Begun:
    """A claimed cursor and what it is about to send. ``probe``: it tries for all while the circuit is half open."""

    delivery: Delivery
    packed: Packed
    manifest: tuple[ManifestEntry, ...]
    started: datetime
    probe: bool = False

    @property
    def package(self) -> Package | None:
        """What is to be sent, under the delivery id of now; None: nothing."""
        package = self.packed.package
        if package is None or not package.entries:
            return None
        if package.delivery_id == self.delivery.delivery_id:
            return package
        return replace(package, delivery_id=self.delivery.delivery_id)

    @property
    def entries(self) -> tuple[Released, ...]:
        """The entries to send."""
        return self.packed.package.entries if self.packed.package else ()

    def noted(self) -> Saved:
        """Return what is written before it is sent: an attempt that may arrive."""
        cursor = replace(self.delivery, window=self.packed.upto)
        return Saved(cursor, _attempt(self, UNDER_WAY, self.manifest, self.started))

    def renumbered(self) -> Begun:
        """Return it under another delivery id, which promises the same content: what is to be sent has changed."""
        return replace(self, delivery=replace(self.delivery, number=self.delivery.number + 1))

    def same_as(self, earlier: Sequence[Attempt]) -> bool:
        """Whether it carries what those attempts carried that were made under its id and may have arrived."""
        number = self.delivery.number
        open_ended = [one for one in earlier if one.number == number and one.outcome == "unknown"]
        return all(_content(one.manifest) == _content(self.manifest) for one in open_ended)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that came to its end. ``outcome`` None: nothing may leave, and the cursor moves over it."""

    begun: Begun
    outcome: Outcome | None

    @property
    def id(self) -> int:
        """The id of the cursor."""
        return self.begun.delivery.id

    @property
    def view(self) -> View:
        """The view of the cursor."""
        return self.begun.delivery.view

    @property
    def settles(self) -> bool:
        """Whether the cursor owes nothing more of what was packed."""
        return self.outcome is None or isinstance(self.outcome, Accepted)

    @property
    def refused(self) -> dict[str, str]:
        """The references of the entries the recipient refused, and why."""
        taken = self.outcome if isinstance(self.outcome, Accepted) else None
        return {each.reference: each.detail for each in taken.refused} if taken else {}

    @property
    def refused_resources(self) -> list[tuple[str, str]]:
        """The refused entries by their internal names."""
        refused = self.refused
        entries = self.begun.entries if refused else ()
        names = {entry.reference: f"{entry.type}/{entry.resource}" for entry in entries}
        return [(names[reference], why) for reference, why in refused.items()]

    @property
    def shared(self) -> dict[str, int]:
        """The shared resources the view holds because of it: internal id -> change."""
        if not isinstance(self.outcome, Accepted):
            return {}
        refused = self.refused
        return {e.resource: e.change for e in self.begun.entries if e.shared and e.reference not in refused}

    def saved(self, now: datetime, retry: Retry) -> Saved:
        """Return the cursor and the attempt as they are to be written."""
        begun, outcome = self.begun, self.outcome
        if outcome is None:
            return Saved(accepted(begun.delivery, now, begun.packed.upto), None)
        manifest, refused = begun.manifest, self.refused
        if refused:
            pairs = zip(begun.entries, manifest, strict=True)
            manifest = tuple(line for entry, line in pairs if entry.reference not in refused)
        settled = settle(begun.delivery, outcome, now, retry, begun.packed.upto)
        return Saved(settled, _attempt(begun, outcome, manifest, now), as_noted=not refused)

    def lines(self, now: datetime, owner: str) -> list[AuditEvent]:
        """Return its lines of the audit trail."""
        delivery, withheld = self.begun.delivery, self.begun.packed.withheld
        subject = f"delivery/{delivery.id}"
        lines = []
        if self.outcome is not None:
            named = f"{delivery.delivery_id} to {delivery.view.recipient}, {len(self.begun.entries)} entries"
            detail = f"{named}: {self.outcome.detail}".rstrip(": ")
            lines.append(AuditEvent(now, f"delivery-{outcome_name(self.outcome)}", owner, subject, detail))
        if withheld:
            detail = ", ".join(f"{rule}: {count}" for rule, count in sorted(withheld.items()))
            lines.append(AuditEvent(now, "withheld", delivery.view.recipient, subject, detail))
        return lines

    def circuit_after(self, breaker: Breaker, now: datetime, retry: Retry) -> Breaker:
        """Return the recipient's circuit after it.

        One that sent nothing lets another try for all. A failure of one that was begun before the circuit opened says
        nothing new: the circuit does not open for longer because many were under way.
        """
        if self.outcome is None or self.begun.package is None:
            return replace(breaker, open_until=now) if self.begun.probe else breaker
        opened_meanwhile = breaker.open_until is not None and not self.begun.probe
        if opened_meanwhile and isinstance(self.outcome, Deferred | Unknown):
            asked = self.outcome.wait if isinstance(self.outcome, Deferred) else None
            return breaker if asked is None else breaker_after(breaker, self.outcome, now, retry)
        return breaker_after(breaker, self.outcome, now, retry)

    def tell(self, stands: Delivery) -> None:
        """Log it, with the ids of the messages it carried the word of."""
        if self.outcome is None:
            return
        tell = log.info if isinstance(self.outcome, Accepted) else log.warning
        tell(
            "delivery attempted",
            delivery=self.begun.delivery.delivery_id,
            recipient=self.view.recipient,
            messages=sorted({entry.message for entry in self.begun.entries if entry.message}),
            outcome=outcome_name(self.outcome),
            detail=self.outcome.detail,
            state=str(stands.state),
        )


def tell_circuit(before: Breaker, after: Breaker) -> None:
    """Log that a circuit opened or closed."""
    if after.open_until is not None and before.open_until is None:
        log.error("the recipient takes no deliveries", recipient=after.recipient, reason=after.reason)
    elif after.open_until is None and before.open_until is not None:
        log.info("the recipient takes deliveries again", recipient=after.recipient)


def _attempt(begun: Begun, outcome: Outcome, manifest: tuple[ManifestEntry, ...], settled: datetime) -> Attempt:
    delivery, packed = begun.delivery, begun.packed
    done = (outcome_name(outcome), outcome.detail, packed.upto, manifest, packed.grounds)
    return Attempt(delivery.id, delivery.number, begun.started, settled, *done)


def _content(manifest: tuple[ManifestEntry, ...]) -> list[tuple[str, int, bool]]:
    return sorted((e.resource, e.version, e.kind is ChangeKind.RETRACTED) for e in manifest)
