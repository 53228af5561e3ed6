"""Translating in processes that may be killed."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.model.message import Message, MessageState
from gateway.model.translation import Finding, Translation
from gateway.services.pool import ProcessTranslators

NOON = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


class Mortal:
    """A translator that is killed by the message ``kill``, and once by ``kill once <file>`` when the file is there."""

    def translate(self, raw: bytes, feed: str, received_at: datetime) -> Translation:
        order, _, file = raw.decode().partition(":")
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


def messages(*contents: str) -> list[Message]:
    return [
        Message(number, "lis", "north", str(number), "ORU^R01", 3, NOON, MessageState.STORED, content.encode())
        for number, content in enumerate(contents)
    ]


def test_the_message_that_kills_its_process_fails_and_the_others_do_not(pool):
    first, deadly, last = pool.translate(messages("a", "kill", "b"))

    assert (first.failure, last.failure) == (None, None)
    assert "died" in deadly.failure.what


def test_a_process_killed_from_outside_twice_costs_no_message(pool, tmp_path):
    (tmp_path / "left").write_text("2")

    (only,) = pool.translate(messages(f"times:{tmp_path / 'left'}"))

    assert only.failure is None
