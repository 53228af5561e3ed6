"""What was committed reaches the file beside the writer, and a connection that fails is opened again."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from gateway.store import checkpoints
from tests.contracts.waiting import wait_for


def test_what_is_committed_reaches_the_file_while_the_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0.01)
    file = tmp_path / "gateway.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("CREATE TABLE noted (word)")
        checkpointer = checkpoints.Checkpointer(file)
        try:
            writer.execute("INSERT INTO noted VALUES ('a-word-of-the-test')")
            wait_for(lambda: b"a-word-of-the-test" in file.read_bytes(), what="the word in the file")
        finally:
            checkpointer.close()


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0.01)
    folder = tmp_path / "later"
    checkpointer = checkpoints.Checkpointer(folder / "gateway.db")
    try:
        folder.mkdir()
        wait_for((folder / "gateway.db").exists, what="the file")
    finally:
        checkpointer.close()
