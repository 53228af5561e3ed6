"""``gateway translate``: messages to FHIR Bundles, without a database or a broker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from gateway.bootstrap.parts import preview_translator
from gateway.cli.base import Config, app, complain, out, settings_of
from gateway.cli.inputs import messages_of
from gateway.fhir import codec
from gateway.fhir.bundle import put, transaction
from gateway.model.translation import Translation


class Version(StrEnum):
    """FHIR versions that can be printed."""

    R4 = "r4"
    R5 = "r5"


@app.command()
def translate(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, or - for stdin.")],
    config: Config = None,
    site: Annotated[
        str, typer.Option(help="Site profile to read with. Default: a neutral one (UTC, no code map).")
    ] = "",
    fhir: Annotated[Version, typer.Option(help="FHIR version to print.")] = Version.R4,
    trace: Annotated[bool, typer.Option("--trace", help="Add which field each element came from.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Print a summary instead of Bundles.")] = False,
) -> None:
    """Translate HL7 v2 messages: one FHIR Bundle per message on stdout, NDJSON."""
    settings = settings_of(config)
    translator, feed = preview_translator(settings, site, trace=trace)
    summary = Summary()
    for name, index, raw in messages_of(paths):
        translation = translator.translate(raw, feed, datetime.now(UTC))
        summary.count(translation)
        if translation.failure or not translation.handled:
            complain(f"{name}, message {index}: {_why(translation)}")
        elif not report:
            out(_bundle(translation, fhir, trace=trace))
    if report:
        summary.write()
    if summary.refused or not summary.messages:
        raise typer.Exit(1)


def _why(translation: Translation) -> str:
    if translation.failure:
        return f"{translation.failure.place}: {translation.failure.what}"
    return "MSH-9: this event is not translated"


def _bundle(translation: Translation, version: Version, *, trace: bool) -> str:
    resources = [codec.decode(statement.body) for statement in translation.statements]
    if version is Version.R5:
        from gateway.fhir.r5 import to_r5

        resources = [to_r5(resource) for resource in resources]
    bundle: dict[str, Any] = transaction(put(resource) for resource in resources)
    if trace:
        bundle = {"bundle": bundle, "trace": [_traced(line) for line in translation.trace]}
    return codec.encode(bundle).decode()


def _traced(line: Any) -> dict[str, str]:
    return {"resource": line.resource, "element": line.element, "source": line.source}


@dataclass
class Summary:
    """What ``--report`` prints: counts, and what a mapping analyst should look at."""

    messages: int = 0
    refused: int = 0
    resources: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    not_mapped: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)

    def count(self, translation: Translation) -> None:
        """Add one message."""
        self.messages += 1
        if translation.failure or not translation.handled:
            self.refused += 1
            self.reasons[_why(translation)] += 1
        self.resources.update(statement.type for statement in translation.statements)
        self.held.update(
            f"{statement.type}: {statement.held}" for statement in translation.statements if statement.held
        )
        self.findings.update(f"{finding.place}: {finding.what}" for finding in translation.findings)
        self.not_mapped.update(translation.not_mapped)
        self.gaps.update(
            f"{gap.kind} {gap.place} {gap.system}|{gap.code} {gap.unit}".rstrip() for gap in translation.gaps
        )

    def write(self) -> None:
        """Print the summary for a person."""
        out(f"{self.messages} messages, {self.messages - self.refused} translated, {self.refused} refused")
        for title, counter in (
            ("resources", self.resources),
            ("refused because", self.reasons),
            ("held for a person", self.held),
            ("remarks", self.findings),
            ("fields valued but not mapped", self.not_mapped),
            ("codes, units and authorities not mapped", self.gaps),
        ):
            if counter:
                out(f"\n{title}:")
                for name, count in sorted(counter.items(), key=lambda item: (-item[1], item[0])):
                    out(f"  {count:6}  {name}")
