"""The file: owned by one process, looked at by others, safe when the power goes."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import text

from gateway.errors import StoreUnavailable
from gateway.ports import AuditEvent
from gateway.store import create_store
from gateway.store.log import SYNC, LogFile
from tests.contracts.stores import KEYS, NOW, incoming

EVENT = AuditEvent(NOW, "a", "b", "c")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "gateway.db"


@pytest.fixture
def url(file):
    return f"sqlite:///{file}"


def audited(store):
    with store.begin() as tx:
        tx.audit.write([EVENT])


@pytest.fixture
def store(url):
    store = create_store(url, KEYS)
    store.upgrade()
    yield store
    store.close()


OWNER = """
import sys
from gateway.model.keys import Keys
from gateway.store import create_store
key = b"e" * 32
create_store(sys.argv[1], Keys(key, key, key, key, {"k1": key}, "k1"))
print("owned", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_owns_the_file(url):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(StoreUnavailable, match=f"another gateway process \\({owner.pid}\\) owns"):
            create_store(url, KEYS)
        owner.kill()
        owner.wait()
    create_store(url, KEYS).close()


def test_the_same_process_cannot_open_it_twice_but_again_after_closing(url, store):
    with pytest.raises(StoreUnavailable, match="open already"):
        create_store(url, KEYS)
    store.close()
    create_store(url, KEYS).close()


def test_a_reader_beside_the_owner_sees_what_is_committed_and_cannot_write(url, store):
    with store.begin() as tx:
        tx.audit.write([EVENT])
    reader = create_store(url, KEYS, read_only=True)
    reader.check_schema()
    with reader.begin(write=False) as tx:
        assert tx.audit.find() == [EVENT]
    with pytest.raises(StoreUnavailable), reader.begin() as tx:
        tx.audit.write([EVENT])
    reader.close()


def test_a_reader_needs_a_file(url):
    with pytest.raises(StoreUnavailable, match="there is no database yet"):
        create_store(url, KEYS, read_only=True)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        create_store(f"sqlite:///{tmp_path / 'file' / 'gateway.db'}", KEYS)


def test_the_file_is_for_its_owner_alone(tmp_path, url, store):
    for file in (tmp_path / "folder").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_every_commit_is_on_the_disk_before_anybody_is_told(file, store):
    synced = []

    def sync(opened):
        SYNC(opened)
        synced.append(os.pread(opened, os.fstat(opened).st_size, 0))

    store._backend._log = LogFile(file, sync)
    for number, write in enumerate([lambda: store.receive([incoming()]), lambda: audited(store)], 1):
        write()
        assert len(synced) == number
        assert synced[-1] == (file.parent / f"{file.name}-wal").read_bytes()


def test_the_log_is_synced_before_what_it_holds_is_moved(store):
    for engine in (store._backend.writer, store._backend.reader):
        with engine.begin() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1


def test_after_a_disk_that_failed_nothing_is_promised(file, store):
    def failing(_opened):
        raise OSError(errno.EIO, "on purpose")

    store._backend._log = LogFile(file, failing)
    for _ in range(2):  # the second time the message is there, and a repeat
        with pytest.raises(StoreUnavailable):
            store.receive([incoming()])
        with pytest.raises(StoreUnavailable):
            audited(store)


def test_an_acknowledgment_waits_for_one_result_transaction_at_most(store):
    """Result transactions queue up; the message that comes last is stored right after the one under way."""
    found, begun, release = {}, threading.Event(), threading.Event()

    def result(number):
        with store.begin() as tx:
            begun.set()
            if number == 0:
                release.wait()
            tx.audit.write([EVENT])
            found[number] = tx.messages.get(1) is not None

    def receive():
        store.receive([incoming()])

    threads = [threading.Thread(target=result, args=(0,))]
    threads[0].start()
    begun.wait()
    threads += [threading.Thread(target=result, args=(number,)) for number in (1, 2, 3)]
    threads.append(threading.Thread(target=receive))
    gate = store._backend._gate
    for thread in threads[1:]:
        thread.start()
    while sum(gate._waiting.values()) < 4:
        time.sleep(0.001)
    release.set()
    for thread in threads:
        thread.join()
    assert found == {0: False, 1: True, 2: True, 3: True}


def test_ids_of_deleted_messages_are_never_given_again(url, store):
    store.receive([incoming("M1"), incoming("M2")])
    with store._backend.writer.begin() as connection:
        connection.execute(text("DELETE FROM messages"))
    store.close()
    again = create_store(url, KEYS)
    assert again.receive([incoming("M3")])[0].id == 3
    again.close()
