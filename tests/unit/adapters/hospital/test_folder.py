"""Folder feeds: complete files only, every message received, a receipt beside what was moved."""

import json
import threading
from contextlib import contextmanager

import pytest

from adapters.hospital.folder import FolderWatcher
from gateway.model.message import MessageState
from gateway.model.site import Feed
from gateway.services.receive import Intake
from tests.contracts.waiting import PATIENCE, wait_for
from tests.listening import BrokenStore, clock, message, rows


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox"


def feed(inbox):
    return Feed("files", "north", "folder", path=str(inbox), look_seconds=0.02)


@contextmanager
def closing_intake(store):
    intake = Intake(store, clock)
    intake.start()
    try:
        yield intake
    finally:
        intake.stop()


@pytest.fixture
def watch(store, inbox):
    """Start watching the inbox, with another store in front when asked."""
    running = []

    def watch(store=store):
        intake = Intake(store, clock)
        intake.start()
        watcher = FolderWatcher([feed(inbox)], intake, clock)
        watcher.start()
        running.extend([watcher, intake])
        return watcher

    yield watch
    for one in running:
        one.stop()


def appears(path):
    wait_for(path.exists, what=path.name)
    return path


def drop(path, content):
    """Put a file into a folder whole, however slowly this thread goes on."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.rename(path)


def receipt(path):
    return json.loads(appears(path).read_text())


def test_a_file_of_one_message_is_received_moved_and_receipted(store, inbox, watch):
    watch()
    drop(inbox / "a.hl7", message("7"))

    assert appears(inbox / "done" / "a.hl7").read_bytes() == message("7")
    written = receipt(inbox / "done" / "a.hl7.receipt.json")
    [row] = rows(store)
    assert written["file"] == "a.hl7"
    assert (written["accepted"], written["refused"]) == (1, 0)
    assert written["messages"] == [
        {
            "index": 1,
            "control_id": "7",
            "acknowledgment": "AA",
            "accepted": True,
            "message": row.id,
            "reason": "",
        }
    ]
    assert not (inbox / "a.hl7").exists()


def test_every_message_of_a_batch_file_is_received_in_order_and_a_wrong_count_is_said(store, inbox, watch):
    watch()
    batch = b"BHS|^~\\&|LIS\r" + b"".join(message(str(n)) for n in range(400)) + b"BTS|399\r"
    drop(inbox / "batch.txt", batch)

    written = receipt(inbox / "done" / "batch.txt.receipt.json")
    assert written["accepted"] == 400
    assert [line["control_id"] for line in written["messages"]] == [str(n) for n in range(400)]
    assert written["findings"] == ["BTS-1: 399 messages stated, 400 found"]
    assert [row.control_id for row in rows(store)] == [str(n) for n in range(400)]


def test_a_file_with_a_refused_message_goes_to_failed_with_the_reason(store, inbox, watch):
    watch()
    drop(inbox / "mixed.HL7", b"what is this\r" + message("1") + message("2", processing_id="T"))

    written = receipt(inbox / "failed" / "mixed.HL7.receipt.json")
    assert [line["accepted"] for line in written["messages"]] == [False, True, False]
    assert written["messages"][2]["acknowledgment"] == "AR"
    assert "MSH-11" in written["messages"][2]["reason"]
    assert [row.state for row in rows(store)] == [
        MessageState.QUARANTINED,
        MessageState.STORED,
        MessageState.REFUSED,
    ]


def test_a_file_still_being_written_is_left_until_it_is_whole(store, inbox):
    with closing_intake(store) as intake:
        (folder,) = FolderWatcher([feed(inbox)], intake, clock)._folders  # not started: it looks when it is told to
        folder.prepare()
        with (inbox / "slow.hl7").open("wb", buffering=0) as file:
            for line in message("1").splitlines(keepends=True):
                file.write(line)
                folder.look()
                assert (inbox / "slow.hl7").exists()
        folder.look()

    assert (inbox / "done" / "slow.hl7").exists()
    assert [row.raw.strip() for row in rows(store)] == [message("1").strip()]


@pytest.mark.parametrize("name", ["a.hl7.tmp", "a.part", ".a.hl7", "a.csv"])
def test_other_names_are_left_alone_and_may_be_renamed_when_ready(store, inbox, watch, name):
    watch()
    (inbox / name).write_bytes(message("1"))
    drop(inbox / "marker.hl7", message("2"))
    appears(inbox / "done" / "marker.hl7")
    assert (inbox / name).exists()

    (inbox / name).rename(inbox / "ready.hl7")
    appears(inbox / "done" / "ready.hl7")


def test_a_file_is_taken_up_again_when_the_store_could_not_commit_and_nothing_is_stored_twice(store, inbox, watch):
    class Failing(BrokenStore):
        """Commits the first batch, fails once, and then commits again."""

        calls = 0

        def receive(self, batch):
            self.calls += 1
            self.broken = self.calls == 2
            return super().receive(batch)

    failing = Failing(store)
    watch(failing)
    drop(inbox / "a.hl7", b"".join(message(str(n)) for n in range(700)))

    assert receipt(inbox / "done" / "a.hl7.receipt.json")["accepted"] == 700
    assert failing.calls > 2
    assert sorted(int(row.control_id) for row in rows(store)) == list(range(700))


def test_a_name_that_was_used_before_does_not_overwrite_the_earlier_file(inbox, watch):
    watch()
    drop(inbox / "a.hl7", message("1"))
    appears(inbox / "done" / "a.hl7")
    drop(inbox / "a.hl7", message("2"))

    assert appears(inbox / "done" / "a-2.hl7").read_bytes() == message("2")
    assert receipt(inbox / "done" / "a-2.hl7.receipt.json")["messages"][0]["control_id"] == "2"


def test_an_empty_file_is_a_failure(inbox, watch):
    watch()
    drop(inbox / "empty.hl7", b"\r\n")

    assert receipt(inbox / "failed" / "empty.hl7.receipt.json")["messages"] == []


def test_utf16_files_are_received(store, inbox, watch):
    watch()
    drop(inbox / "wide.hl7", (message("1") + message("2")).decode().encode("utf-16"))

    assert receipt(inbox / "done" / "wide.hl7.receipt.json")["accepted"] == 2


def test_stopping_in_the_middle_leaves_the_file_for_the_next_start(store, inbox, watch):
    class Stuck(BrokenStore):
        def receive(self, batch):
            called.set()
            return super().receive(batch)

    called = threading.Event()
    stuck = Stuck(store)
    watcher = watch(stuck)
    drop(inbox / "a.hl7", message("1"))
    assert called.wait(PATIENCE)
    watcher.stop()
    assert (inbox / "a.hl7").exists()

    watch()
    appears(inbox / "done" / "a.hl7")
    assert len(rows(store)) == 1
