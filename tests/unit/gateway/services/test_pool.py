"""Translating in processes that may be killed."""

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import StaleClaim
from gateway.model.message import Message, MessageState
from gateway.model.translation import Finding, Translation
from gateway.services.pool import ProcessTranslators

NOON = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


class Mortal:
    """A translator that ``until:FILE`` keeps busy, ``kill`` kills, and ``times:FILE`` while FILE counts down."""

    def translate(self, raw: bytes, feed: str, received_at: datetime) -> Translation:
        order, _, file = raw.decode().partition(":")
        while order == "until" and not Path(file).exists():
            time.sleep(0.01)
        if order == "kill" or (order == "times" and _counted(Path(file))):
            os.kill(os.getpid(), signal.SIGKILL)
        return Translation(findings=(Finding("MSH", order),))


def _counted(file: Path) -> bool:
    """Count a file's number down; say whether it was above zero."""
    left = int(file.read_text())
    file.write_text(str(max(left - 1, 0)))
    return left > 0


def mortal(codes: object) -> Mortal:
    return Mortal()


@pytest.fixture
def pool():
    made = ProcessTranslators(mortal, 1)
    yield made
    made.close()


def nothing() -> None:
    """What the caller does meanwhile."""


def messages(*contents: str) -> list[Message]:
    return [
        Message(number, "lis", "north", str(number), "ORU^R01", 3, NOON, MessageState.STORED, content.encode())
        for number, content in enumerate(contents)
    ]


def test_the_message_that_kills_its_process_fails_and_the_others_do_not(pool):
    first, deadly, last = pool.begin(messages("a", "kill", "b")).result(nothing)

    assert (first.failure, last.failure) == (None, None)
    assert "died" in deadly.failure.what


def test_a_process_killed_from_outside_twice_costs_no_message(pool, tmp_path):
    (tmp_path / "left").write_text("2")

    (only,) = pool.begin(messages(f"times:{tmp_path / 'left'}")).result(nothing)

    assert only.failure is None


def test_what_was_begun_beside_a_deadly_message_is_translated(pool):
    one = pool.begin(messages("a", "kill"))
    other = pool.begin(messages("b", "c"))

    assert [translation.failure is None for translation in one.result(nothing)] == [True, False]
    assert [translation.failure for translation in other.result(nothing)] == [None, None]


def test_the_caller_is_called_while_it_waits_and_may_give_up(pool, tmp_path):
    begun = pool.begin(messages(f"until:{tmp_path / 'file'}"))

    def lost() -> None:
        (tmp_path / "file").touch()
        raise StaleClaim("on purpose")

    with pytest.raises(StaleClaim):
        begun.result(lost)
