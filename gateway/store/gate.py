"""Whose turn it is to write to the SQLite file: acknowledgments first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident
from typing import Final

from gateway.errors import StoreUnavailable

_IN_A_ROW: Final = 16
"""Urgent turns in a row before somebody else who waits gets one."""

_PATIENCE: Final = 60.0


class WriterGate:
    """A lock with two kinds of waiters. Urgent ones go first, but not for ever."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._changed = Condition()
        self._holder: int | None = None
        self._waiting = {True: 0, False: 0}
        self._in_a_row = 0
        self._patience = patience

    @contextmanager
    def turn(self, *, urgent: bool = False) -> Iterator[None]:
        """Hold the turn for a block. Raises ``StoreUnavailable`` after a minute without getting it."""
        self._take(urgent)
        try:
            yield
        finally:
            with self._changed:
                self._holder = None
                self._changed.notify_all()

    def _take(self, urgent: bool) -> None:
        with self._changed:
            if self._holder == get_ident():
                raise RuntimeError("a writing transaction was begun inside another one")
            self._waiting[urgent] += 1
            try:
                if not self._changed.wait_for(lambda: self._may(urgent), self._patience):
                    raise StoreUnavailable("the database file is busy: another transaction does not end")
                self._holder = get_ident()
                self._in_a_row = self._in_a_row + 1 if urgent else 0
            finally:
                self._waiting[urgent] -= 1

    def _may(self, urgent: bool) -> bool:
        if self._holder is not None:
            return False
        others_turn = self._in_a_row >= _IN_A_ROW
        if urgent:
            return not (others_turn and self._waiting[False])
        return others_turn or not self._waiting[True]
