"""What the demo shows a person: a screenful of what came in, what it became, who received what and who did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fixtures.story import Played
from gateway.bootstrap.parts import utc_now
from gateway.bootstrap.roles import Gateway
from gateway.cli.base import out
from gateway.model.message import MessageState
from gateway.model.recipient import Recipient
from gateway.ports import MessageFilter
from gateway.release.decision import RULES
from gateway.services.explain import Explanation, explain

KINDS = {"fhir_server": "FHIR server", "webhook": "webhook", "amqp": "queue"}


class Screen:
    """Prints the story of a gateway that has settled. ``received``: recipient -> ``Type/id`` -> resource."""

    def __init__(self, gateway: Gateway, played: Sequence[Played], received: Mapping[str, Mapping[str, Any]]) -> None:
        self._gateway = gateway
        self._played = played
        self._received = received

    def write(self) -> None:
        """Print everything."""
        out(f"{self._gateway.settings.gateway.name}: {len(self._played)} messages")
        self._write_in()
        self._write_became()
        self._write_out()
        self._write_for_a_person()

    def _write_in(self) -> None:
        out("\nWhat came in")
        feeds = self._gateway.settings.feeds
        for feed in dict.fromkeys(message.feed for message in self._played):
            answers = Counter(message.answer for message in self._played if message.feed == feed)
            site = self._gateway.settings.sites[feeds[feed].site].name
            out(f"  {feed:9} {sum(answers.values()):4}  {_counted(answers):22} {site} ({feeds[feed].kind})")

    def _write_became(self) -> None:
        with self._gateway.store.begin(write=False) as tx:
            states = Counter(str(message.state) for message in tx.messages.find(MessageFilter(limit=10_000)))
            patients = {version.patient for version in tx.resources.of_type("Patient")}
            held = [version for patient in patients for version in tx.resources.of_patient(patient)]
        types = Counter(version.type for version in held)
        out("\nWhat it became")
        again = len(self._played) - sum(states.values())
        out(f"  messages   {_counted(states)}" + (f", {again} had come before" if again > 0 else ""))
        out(f"  resources  {_counted(types)}, of {len(patients)} patients")

    def _write_out(self) -> None:
        out("\nWho received what, and who did not and why")
        for recipient in self._gateway.settings.receivers.values():
            mine = self._received.get(recipient.id, {})
            studies = ", ".join(recipient.studies)
            kind = f"{KINDS[recipient.kind]}, {recipient.identity}" + (", blinded" if recipient.blinded else "")
            out(f"  {recipient.id} ({kind}; {studies})")
            out(f"    holds      {_counted(Counter(reference.partition('/')[0] for reference in mine)) or 'nothing'}")
            for line in self._withheld(recipient):
                out(f"    not sent   {line}")

    def _withheld(self, recipient: Recipient) -> list[str]:
        """Say per rule how many resources did not leave, most first, and how many patients it never heard of."""
        rules: Counter[str] = Counter()
        unknown = 0
        for explained in self._explained(recipient):
            unknown += not explained.cursors
            rules.update(_why_not(explained) if explained.cursors else ())
        lines = [f"{count:4}  {RULES.get(rule, rule)}" for rule, count in rules.most_common(6)]
        if unknown:
            lines.append(f"{unknown:4}  patients on none of its studies: it never hears of them")
        return lines

    def _explained(self, recipient: Recipient) -> Iterable[Explanation]:
        gateway = self._gateway
        with gateway.store.begin(write=False) as tx:
            patients = {version.patient for version in tx.resources.of_type("Patient")}
        for patient in sorted(patients):
            yield explain(gateway.store, gateway.policy, recipient.id, utc_now(), patient=patient)

    def _write_for_a_person(self) -> None:
        with self._gateway.store.begin(write=False) as tx:
            failed = tx.messages.find(MessageFilter(state=MessageState.FAILED))
            holds = tx.worklist.holds()
            gaps = tx.worklist.gaps()
        out("\nWhat waits for a person")
        for message in failed:
            out(f"  failed     message {message.id} of {message.feed}: {message.place}: {message.reason}")
        for kind, count in Counter(f"{hold.kind}: {hold.reason}" for hold in holds).most_common():
            out(f"  held       {kind}" + _often(count))
        for line in gaps:
            what = f"{line.gap.kind} {line.gap.code}" + (f" in {line.gap.unit}" if line.gap.unit else "")
            out(f"  no map     {what} at {line.gap.place} of {line.feed}" + _often(line.count))
        if not (failed or holds or gaps):
            out("  nothing")


def _why_not(explained: Explanation) -> Iterable[str]:
    """One rule per resource that was never sent: of the study the patient is on, where there is one."""
    by_resource: dict[str, set[str]] = {}
    for line in explained.resources:
        by_resource.setdefault(line.resource, set()).add("" if line.sent else line.rule)
    for rules in by_resource.values():
        if "" not in rules:
            yield next(iter(sorted(rules - {"not-a-subject"})), "not-a-subject")


def _often(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())
