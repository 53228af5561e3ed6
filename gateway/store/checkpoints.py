"""Moving what was committed from SQLite's log into its file, beside the writer: else a commit would wait for it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

SECONDS: Final = 1.0
"""How often it is done."""
LIMIT_PAGES: Final = 64_000
"""Pages of the log from which on the writer lends a hand: this thread was kept from it by long readers."""


class Checkpointer:
    """Works on a thread of its own until closed. What it leaves is done when the last connection is closed."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(SECONDS):
            try:
                with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
                    while not self._ends.wait(SECONDS):
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                log.warning("the database's log could not be moved into its file", error=type(error).__name__)
