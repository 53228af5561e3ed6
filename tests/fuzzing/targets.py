"""What ``make fuzz`` runs bad input through, and what must hold whatever comes."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import SimpleNamespace

from adapters.hospital.framing import KEPT, BlockReader
from gateway.errors import MessageError, Unreadable
from gateway.fhir.checks import validate
from gateway.fhir.codec import decode
from gateway.hl7v2.conformance import check
from gateway.hl7v2.message import parse
from gateway.hl7v2.peek import peek
from gateway.hl7v2.split import split
from gateway.hl7v2.structures import group
from gateway.model.site import Feed
from gateway.services.judge import Judge
from gateway.settings import load
from mappings.translator import SiteTranslator
from tests.deployment import ROOT
from tests.fuzzing.cases import cases, message, wire
from tests.listening import Sender, clock, listening, said, sqlite_store
from tests.listening import message as sound

RECEIVED = datetime(2026, 4, 1, tzinfo=UTC)
VALIDATED = 20
"""One translated message in so many goes through fhir.resources, which takes far longer than translating."""
TOGETHER = 20


@contextmanager
def frames():
    """However a stream is cut, the same pieces come out, and memory stays bounded."""

    def run(case, random):
        limit = random.choice((10, 1000, 10**6))
        whole = BlockReader(limit)
        expected = [*whole.feed(case), *whole.finish()]
        reader, found, at = BlockReader(limit), [], 0
        while at < len(case):
            size = random.choice((1, 2, 7, 100, 5000))
            found += reader.feed(case[at : at + size])
            at += size
            assert len(reader._buffer) <= max(limit, KEPT) + size + KEPT
        assert [*found, *reader.finish()] == expected

    yield SimpleNamespace(case=lambda random: wire(random) + wire(random), run=run, size=1)


@contextmanager
def heads():
    """The listener's look at a header: a verdict and an answer, whatever the bytes."""
    judge = Judge(clock, lambda kind: kind.startswith("ORU"))
    feeds = [Feed("lis", "north"), Feed("http", "north", "http", conformance="strict", versions=("2.5", "2.5.1"))]

    def run(case, random):
        with suppress(Unreadable):
            peek(case)
        for feed in feeds:
            verdict = judge.judge(feed, case)
            assert verdict.incoming.raw == case
            assert verdict.code == "" or b"MSA" in verdict.incoming.acknowledgment.replace(b"\0", b"")

    yield SimpleNamespace(case=message, run=run, size=1)


@contextmanager
def messages():
    """Every segment is in exactly one group, and a batch loses nothing."""

    def run(case, random):
        for part in split(case):
            assert part.raw
        try:
            parsed = parse(case)
        except MessageError:
            return
        check(parsed)
        assert group(parsed).all_segments() == parsed.segments

    yield SimpleNamespace(case=message, run=run, size=1)


@contextmanager
def translations():
    """Valid FHIR or a failure with its place, never an error."""
    settings = load(ROOT / "fixtures" / "config", {})
    translator = SiteTranslator(settings.sites, settings.feeds, b"k" * 32)
    feeds = list(settings.feeds)

    def run(case, random):
        made = translator.translate(case, random.choice(feeds), RECEIVED)
        assert made.failure is None or (made.failure.what and not made.statements)
        if random.randrange(VALIDATED) == 0:
            for statement in made.statements:
                validate(decode(statement.body))

    yield SimpleNamespace(case=message, run=run, size=1)


@contextmanager
def listener():
    """Some cases on a connection of the real listener, then a message that must be answered as ever."""
    with (
        tempfile.TemporaryDirectory() as folder,
        sqlite_store(folder) as store,
        listening(store, Feed("lis", "north", port=0)) as running,
    ):

        def case(random):
            return b"".join(one.wire for one in cases(TOGETHER, random.getrandbits(64)))

        def run(case, random):
            sender = Sender(running.ports["lis"])
            end = f"END-{random.getrandbits(64):X}"
            try:
                sender.socket.sendall(case)
                sender.send(sound(end))
                answers = sender.answers()
                while answers and said(answers[-1]) != (b"AA", end.encode()):
                    answers = sender.answers()
                assert answers, "the connection was closed"
            finally:
                sender.close()

        yield SimpleNamespace(case=case, run=run, size=TOGETHER)


TARGETS = {
    "frames": frames,
    "heads": heads,
    "messages": messages,
    "translations": translations,
    "listener": listener,
}
