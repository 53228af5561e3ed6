"""What answers disclose is kept before they leave; many wait for one that writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.ports import Answer, Shown
from gateway.services.answer_log import AnswerLog
from tests.releasing import NOON, uid, world


def answer(number: int) -> Answer:
    shown = (Shown("Patient", uid(f"shown {number}"), 1, uid(f"shown {number}")),)
    return Answer(NOON, f"client {number}", "read", "Patient", 200, "GET Patient/x", shown)


def test_what_is_noted_by_many_at_once_is_kept_when_each_goes_on(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        log, missing = AnswerLog(made.store), []

        def note(number: int) -> None:
            log.note(answer(number))
            with made.store.begin(write=False) as tx:
                if not tx.answers.find(client=f"client {number}"):
                    missing.append(number)

        threads = [threading.Thread(target=note, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert missing == []


class Away:
    """A store whose database is away."""

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[None]:
        raise StoreUnavailable("the database does not answer")
        yield


def test_what_cannot_be_kept_is_not_shown() -> None:
    with pytest.raises(StoreUnavailable):
        AnswerLog(Away()).note(answer(1))  # type: ignore[arg-type]
