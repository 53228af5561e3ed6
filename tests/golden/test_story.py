"""Each message of the fictional year beside the FHIR it must become."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures.standins.serving import capture
from fixtures.story import Played, story
from gateway.bootstrap.parts import handles
from gateway.fhir import codec
from gateway.fhir.bundle import put, transaction
from gateway.fhir.checks import validate
from gateway.hl7v2.peek import content_digest, peek
from mappings.translator import SiteTranslator
from tests.story import KEYS, MESSAGES, RECEIVED_AT, settings


@cache
def _translator() -> SiteTranslator:
    unit = settings(Path(tempfile.gettempdir()))
    return SiteTranslator(unit.sites, unit.feeds, KEYS.identity)


@cache
def _first_of_its_number() -> dict[tuple[str, str], Played]:
    """The message that used each control id first; what comes later under it is a repeat or a conflict."""
    found: dict[tuple[str, str], Played] = {}
    for message in story():
        found.setdefault((message.feed, peek(message.raw).control_id), message)
    return found


def _outcome(message: Played) -> Any:
    """The Bundle of a message, or what is said instead."""
    head = peek(message.raw)
    first = _first_of_its_number()[message.feed, head.control_id]
    if first.name != message.name:
        same = content_digest(first.raw) == content_digest(message.raw)
        return {"repeats": first.name} if same else {"refused": "MSH-10: used before for other content"}
    translation = _translator().translate(message.raw, message.feed, RECEIVED_AT)
    if translation.failure:
        return {"refused": f"{translation.failure.place}: {translation.failure.what}"}
    if not translation.handled:
        assert not handles(head.type_and_event)
        return {"unhandled": True}
    resources = [codec.decode(statement.body) for statement in translation.statements]
    for resource in resources:
        validate(resource)
    bundle = transaction(put(resource) for resource in resources)
    capture(codec.encode(bundle))
    return bundle


@pytest.mark.parametrize("message", story(), ids=lambda message: message.name)
def test_a_message_of_the_story_becomes_the_fhir_beside_it(message: Played, update: bool) -> None:
    became = _outcome(message)
    beside = MESSAGES / f"{message.name}.json"
    if update:
        beside.write_bytes(msgspec.json.format(codec.encode(became), indent=2) + b"\n")
    assert became == codec.decode(beside.read_bytes())


def test_every_message_has_its_answer_and_every_answer_its_message() -> None:
    names = {message.name for message in story()}
    answers = {path.stem for path in MESSAGES.glob("*.json") if not path.stem.startswith("expected-")}
    assert answers == names


def test_the_story_is_told_in_the_character_sets_of_its_senders() -> None:
    raw = {message.name: message.raw for message in story()}
    assert "FERRÈ".encode("iso8859-1") in raw["006.lis.thousands-dot-and-no-value"]
    assert b"l\x92analizzatore" in raw["006.lis.thousands-dot-and-no-value"], "an apostrophe of Windows-1252"
    assert "ŞENTÜRK^İpek Gülşen".encode("iso8859-9") in raw["058.ankara.enzyme-abroad"]
    assert "ŞENTÜRK^İpek Gülşen".encode() in raw["002.adt.person-from-abroad"]
