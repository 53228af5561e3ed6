"""10,000 cases of bad input (``make fuzz`` makes more): always an answer, nothing lost, nobody stuck."""

from __future__ import annotations

import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from types import SimpleNamespace

import pytest
import structlog

from fixtures.story import Played
from gateway.api.app import create_app
from gateway.api.server import HttpServer
from gateway.hl7v2.peek import content_digest, narrow
from gateway.model.message import MessageState
from gateway.model.site import Feed
from gateway.model.translation import Translation
from gateway.ports import MessageFilter
from gateway.services.metrics import Metrics
from gateway.services.receive import Intake
from gateway.settings import load
from mappings.translator import SiteTranslator
from tests.contracts.waiting import PATIENCE
from tests.deployment import ROOT
from tests.fuzzing.cases import cases
from tests.listening import Sender, clock, listening, message, said, sqlite_store
from tests.story import settings, take_in

COUNT = 10_000
TOGETHER = 20
SETTLED = 500
"""Cases that are written too, which takes far longer than reading them."""
FEED = Feed("lis", "north", port=0)
POSITIVE, NEGATIVE = {b"AA", b"CA"}, {b"AE", b"AR", b"CE", b"CR"}
KEPT = {MessageState.QUARANTINED, MessageState.REFUSED, MessageState.CONFLICT}


@pytest.fixture(autouse=True)
def logged():
    """What was logged; nothing of it may be an error of ours."""
    with structlog.testing.capture_logs() as lines:
        yield lines
    assert [line for line in lines if line["log_level"] == "error"] == []


def groups(found, size):
    """Return lists of so many, in order."""
    found = iter(found)
    return iter(lambda: list(islice(found, size)), [])


def contents(store):
    """Digest of every stored message -> its states, and the control ids of the accepted ones, as bytes."""
    states, taken, before = {}, set(), None
    with store.begin(write=False) as transaction:
        while page := transaction.messages.find(MessageFilter(limit=1000, before=before)):
            before = page[-1].id
            for row in page:
                raw = transaction.messages.get(row.id).raw
                states.setdefault(content_digest(raw), set()).add(row.state)
                if row.state not in KEPT:
                    taken |= {row.control_id.encode(), row.control_id.encode("latin-1", "replace")}
    return states, taken


def asks(content):
    """Whether MSH-15 or MSH-16 asks for another number of answers than one."""
    fields = content.lstrip(b"\xef\xbb\xbf\r\n \t\x00").split(b"\r")[0].split(b"|")
    return any(field.strip() for field in fields[14:16])


def test_over_mllp_every_case_is_answered_and_kept_and_every_connection_stays_usable(tmp_path):
    with sqlite_store(tmp_path) as store, listening(store, FEED) as running:

        def converse(numbered):
            """Send some cases on one connection, then a message that must be answered as ever."""
            number, group = numbered
            sender = Sender(running.ports["lis"])
            try:
                for each in groups(group, TOGETHER):
                    name = f"end-{number}-{each[0][0]}"
                    sender.socket.sendall(b"".join(case.wire for _, case in each))
                    sender.send(message(name))
                    answers = []
                    while not answers or said(answers[-1]) != (b"AA", name.encode()):
                        answers += sender.answers()
                    yield each, answers[:-1]
            finally:
                sender.close()

        with ThreadPoolExecutor(4) as pool:
            work = enumerate(groups(enumerate(cases(COUNT)), 250))
            talks = [talk for talks in pool.map(lambda each: list(converse(each)), work) for talk in talks]

        states, taken = contents(store)

    assert sum(len(each) for each, _ in talks) == COUNT
    for each, answers in talks:
        for code, control_id in map(said, answers):
            assert code in POSITIVE | NEGATIVE
            if code in POSITIVE and len(control_id) <= 200 and b"\0" not in control_id:  # others are stored shortened
                assert control_id in taken
        whole = [case.content for _, case in each if case.content]
        assert len(answers) >= sum(not asks(content) for content in whole)
        for content in whole:
            assert content_digest(content) in states


def test_every_case_becomes_a_translation():
    unit = load(ROOT / "fixtures" / "config", {})
    translator = SiteTranslator(unit.sites, unit.feeds, b"k" * 32)
    feeds = list(unit.feeds)

    for number, case in enumerate(cases(COUNT)):
        made = translator.translate(
            case.content or case.wire, feeds[number % len(feeds)], datetime(2026, 4, 1, tzinfo=UTC)
        )
        assert isinstance(made, Translation)
        assert made.failure is None or made.statements == ()


@pytest.fixture
def served(tmp_path):
    """An HTTP feed behind a real web server; its store beside it."""
    feed = Feed("ehr", "north", "http")
    with sqlite_store(tmp_path) as store:
        intake = Intake(store, clock)
        metrics = Metrics()
        intake.start()
        server = HttpServer(create_app(intake, {"ehr": feed}, None, metrics.registry), host="127.0.0.1", port=0)
        yield SimpleNamespace(store=store, place=server.address.partition("//")[2])
        server.stop()
        intake.stop()


def test_over_http_each_is_answered_and_kept(served):
    def converse(group):
        connection = http.client.HTTPConnection(served.place, timeout=PATIENCE)
        try:
            for case in group:
                content = case.content or case.wire
                connection.request("POST", "/hl7v2/ehr", content, {"Content-Type": "application/hl7-v2"})
                answer = connection.getresponse()
                yield content, answer.status, answer.read()
        finally:
            connection.close()

    some = islice(cases(COUNT), None, None, 3)  # a request costs ten times what a block does
    with ThreadPoolExecutor(4) as pool:
        work = groups(some, 250)
        talks = [talk for talks in pool.map(lambda group: list(converse(group)), work) for talk in talks]
    states, _ = contents(served.store)

    assert len(talks) > COUNT // 4
    for content, status, answer in talks:
        assert status == 200 or (status == 204 and asks(content))
        assert status == 204 or b"MSA" in narrow(answer)
        assert content_digest(content) in states


def test_every_case_that_was_accepted_ends_translated_or_is_listed_with_its_fault(tmp_path):
    def sent(case):
        content = case.content or case.wire
        feed = next((feed for word, feed in ((b"CRM^", "trials"), (b"ADT^", "adt")) if word in content), "lis")
        return Played(case.kind, feed, content)

    some = map(sent, islice(cases(COUNT), SETTLED))
    with closing(take_in(settings(tmp_path), some)) as store, store.begin(write=False) as transaction:
        found = transaction.messages.find(MessageFilter(limit=SETTLED))

    ended = Counter(each.state for each in found)
    assert ended[MessageState.STORED] == 0
    assert ended[MessageState.TRANSLATED] > SETTLED / 4
    failed = [each.reason for each in found if each.state is MessageState.FAILED]
    assert all(failed)
    assert [reason for reason in failed if "defect in the gateway" in reason] == []
