"""Backups: of one moment while others write, whole or refused, and ready to go on where they are put back."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from gateway.errors import BackupError, KeysMissing
from gateway.model.delivery import DeliveryState
from gateway.ports import AuditEvent, Process
from tests.contracts.stores import KEYS, MINUTE, NOW, VIEW, Database, attempt, incoming, uid, version
from tests.contracts.waiting import wait_for


@pytest.fixture
def elsewhere(database, request, tmp_path):
    """An empty place of the same kind."""
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    if not database.is_sqlite:
        url = request.getfixturevalue("postgres_server").database()
    found = Database(url)
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backup"


def fill(store):
    """A message, what it became, a delivery that was paid and one under way."""
    store.receive([incoming("M1")])
    with store.begin() as tx:
        tx.resources.append([version(1), version(2, patient="")])
        tx.deliveries.plan({(VIEW, uid(900)): 1, (VIEW, ""): 2}, NOW)
        paid, open_ = (tx.deliveries.of_view(VIEW, patient) for patient in (uid(900), ""))
        tx.deliveries.claim(paid.id, "old", NOW, MINUTE)
        settled = replace(paid, state=DeliveryState.IDLE, sent=1, number=paid.number + 1, due_at=None)
        tx.deliveries.save(settled, attempt(paid.id, "accepted", 1), "old")
        tx.deliveries.claim(open_.id, "old", NOW, MINUTE)
        tx.lanes.claim("old", NOW, MINUTE, 3)
        tx.processes.beat(Process("old", ("deliver",), NOW, NOW))
        tx.audit.write([AuditEvent(NOW, "translated", "translate", "message/1")])


def test_what_is_put_back_is_what_was_there(store, elsewhere, folder):
    fill(store)
    taken = store.backup(folder, NOW)
    other = elsewhere.open()
    assert other.restore(folder, NOW) == taken
    assert (taken.messages, taken.newest) == (1, NOW)
    with store.begin(write=False) as before, other.begin(write=False) as after:
        assert after.messages.get(1) == before.messages.get(1)
        assert after.resources.of_patient(uid(900)) == before.resources.of_patient(uid(900))
        assert after.audit.find() == before.audit.find()
        paid = before.deliveries.of_view(VIEW, uid(900)).id
        assert after.deliveries.attempts(paid) == before.deliveries.attempts(paid)


def test_what_was_settled_is_not_owed_again_and_what_was_under_way_is_due_at_once(store, elsewhere, folder):
    fill(store)
    store.backup(folder, NOW)
    other = elsewhere.open()
    other.restore(folder, NOW)
    with other.begin() as tx:
        tx.deliveries.expire(NOW)
        due = tx.deliveries.due(NOW, 10, MINUTE)
        assert [one.patient for one in due] == [""]
        assert tx.deliveries.of_view(VIEW, uid(900)).state is DeliveryState.IDLE
        assert [claim.lane for claim in tx.lanes.claim("new", NOW, MINUTE, 64)] == [7]
        assert tx.processes.list_all() == []


def test_ids_given_out_after_the_backup_are_not_given_out_again_to_other_content(store, elsewhere, folder):
    fill(store)
    store.backup(folder, NOW)
    other = elsewhere.open()
    other.restore(folder, NOW)
    with store.begin() as tx, other.begin() as again:
        known = {
            tx.deliveries.of_view(VIEW, patient).number + later for patient in ("", uid(900)) for later in range(9)
        }
        given = {again.deliveries.of_view(VIEW, patient).number for patient in ("", uid(900))}
    assert not known & given
    assert other.receive([incoming("M2")])[0].id > 1
    with other.begin() as tx:
        assert tx.resources.append([version(3)])[0].change > 2


def test_a_backup_under_load_is_of_one_moment(store, elsewhere, folder):
    ends, written = threading.Event(), []

    def write():
        while not ends.is_set():
            number = len(written) + 1
            with store.begin() as tx:
                tx.resources.append([version(number)])
                tx.audit.write([AuditEvent(NOW, "wrote", "test", f"version/{number}")])
            written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: len(written) > 20, what="some rows")
        store.backup(folder, NOW)
        count = len(written)
        wait_for(lambda: len(written) > count, what="a row that was written after")
    finally:
        ends.set()
        writer.join()
    other = elsewhere.open()
    other.restore(folder, NOW)
    with other.begin(write=False) as tx:
        versions, lines = tx.resources.of_patient(uid(900)), tx.audit.find(limit=100_000)
    assert 20 <= len(versions) <= count + 1
    assert len(versions) == len(lines)


def test_a_backup_is_neither_readable_nor_open_to_others(store, folder):
    fill(store)
    store.backup(folder, NOW)
    assert not any(b"ORU^R01|M1" in path.read_bytes() for path in folder.iterdir())
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.iterdir()]} == {0}


def test_a_folder_that_is_not_empty_is_refused(store, folder):
    folder.mkdir()
    (folder / "something").touch()
    with pytest.raises(BackupError, match="is not empty"):
        store.backup(folder, NOW)


def test_a_database_that_is_not_empty_is_refused(store, folder):
    store.backup(folder, NOW)
    with pytest.raises(BackupError, match="the database is not empty"):
        store.restore(folder, NOW)


def test_an_interrupted_backup_is_refused(store, elsewhere, folder):
    store.backup(folder, NOW)
    (folder / "manifest.json").unlink()
    assert_refused(elsewhere, folder, BackupError, "interrupted")


def test_a_backup_that_was_changed_is_refused(store, elsewhere, folder):
    fill(store)
    store.backup(folder, NOW)
    path = next(path for path in folder.iterdir() if path.stem in {"gateway", "messages"})
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert_refused(elsewhere, folder, BackupError, "is not what was written")
    path.unlink()
    assert_refused(elsewhere, folder, BackupError, "is missing")


def test_a_backup_of_the_other_kind_is_refused(store, elsewhere, folder):
    store.backup(folder, NOW)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"kind": "another"}))
    assert_refused(elsewhere, folder, BackupError, "is of another")


def test_a_backup_is_not_put_back_with_other_keys(store, elsewhere, folder):
    store.backup(folder, NOW)
    others = replace(KEYS, encryption={"k1": b"n" * 32})
    assert_refused(elsewhere, folder, KeysMissing, "encryption k1", keys=others)


def assert_refused(elsewhere, folder, error, words, keys=KEYS):
    """Putting it back is refused with these words, and the place stays empty."""
    with pytest.raises(error, match=words):
        elsewhere.again(keys).restore(folder, NOW)
    elsewhere.again().upgrade()
