"""Bringing SQLite's log to the disk after a commit, beside the next one: no writer waits while another's is written."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import structlog

from gateway.errors import StoreUnavailable

log = structlog.get_logger()


class Sync(Protocol):
    """Brings what was written to an open file to the disk."""

    def __call__(self, file: int, /) -> None:
        """Return when it is there. Raises ``OSError``."""


SYNC: Final[Sync] = getattr(os, "fdatasync", os.fsync)
"""What SQLite itself does with its log."""


class LogFile:
    """The write-ahead log of a database file, which SQLite writes without waiting for the disk (synchronous=NORMAL)."""

    def __init__(self, database: Path, sync: Sync = SYNC) -> None:
        self._path = f"{database}-wal"
        self._sync = sync
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._failed = False

    def sync(self) -> None:
        """Return when everything that was committed before is on the disk; one visit serves all who wait for the next.

        Raises ``StoreUnavailable`` when the disk fails, and ever after: nobody knows what it kept, so that nothing may
        be promised any more.
        """
        with self._changed:
            mine = self._begun + 1  # one that is under way may have begun before the commit
            self._changed.wait_for(lambda: self._done >= mine or self._done == self._begun)
            goes = self._done < mine
            if goes:
                self._begun = mine
        if goes:
            self._visit(mine)
        if self._failed:
            raise StoreUnavailable("the disk failed to keep the database's log: restart the gateway")

    def _visit(self, number: int) -> None:
        try:
            with suppress(FileNotFoundError):  # then the database file has all of it
                file = os.open(self._path, os.O_RDWR)  # not kept open: SQLite makes the log anew when it likes
                try:
                    self._sync(file)
                finally:
                    os.close(file)
        except OSError as error:
            self._failed = True
            log.critical("the disk failed to keep the database's log", error=error.strerror)
        finally:
            with self._changed:
                self._done = number
                self._changed.notify_all()
