"""The store as a whole: all or nothing, encrypted, its own version and keys, and a server that comes and goes."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text

from gateway.errors import KeysMissing, SchemaMismatch, StoreError, StoreUnavailable
from gateway.model.translation import PatientKey
from gateway.ports import AuditEvent, Event, MessageFilter
from gateway.store import create_store
from tests.contracts.stores import KEYS, NOW, emptied, incoming, uid, upgraded, version
from tests.servers.postgres import PostgresServer

MARKER = "Rossi-Bianchi-1957"
EVENT = AuditEvent(NOW, "a", "b", "c")


def run(store, statement):
    """Do something to the database behind the store's back."""
    with store._backend.writer.begin() as connection:
        connection.execute(text(statement))


def test_a_block_that_raises_leaves_nothing(store):
    class Stop(Exception):
        pass

    def stopped():
        with store.begin() as tx:
            tx.audit.write([EVENT])
            tx.resources.append([version(1)])
            raise Stop

    with pytest.raises(Stop):
        stopped()
    with store.begin(write=False) as tx:
        assert tx.audit.find() == []
        assert tx.resources.heads([uid(1)]) == {}


def test_what_is_not_committed_is_seen_by_nobody_else(store):
    with store.begin() as tx:
        tx.audit.write([EVENT])
        with store.begin(write=False) as other:
            assert other.audit.find() == []
    with store.begin(write=False) as tx:
        assert tx.audit.find() == [EVENT]


def test_a_reader_sees_one_state_while_others_write(database):
    store = database.open()
    if not database.is_sqlite:  # READ COMMITTED shows each statement the newest state
        return
    with store.begin(write=False) as reader:
        assert reader.audit.find() == []
        with store.begin() as tx:
            tx.audit.write([EVENT])
        assert reader.audit.find() == []


def test_everything_survives_a_restart(database):
    store = database.open()
    with store.begin() as tx:
        tx.audit.write([EVENT])
        (appended,) = tx.resources.append([version(1)])
    with database.again().begin() as tx:
        assert tx.audit.find() == [EVENT]
        assert tx.resources.heads([uid(1)]) == {uid(1): appended}
        assert tx.resources.append([version(1, 2)])[0].change > appended.change


def test_what_was_said_of_people_is_nowhere_readable_on_disk(database):
    store = database.open()
    raw = f"MSH|^~\\&|||||||ORU^R01|M1|P|2.5.1\rPID|1||{MARKER}\r".encode()
    store.receive([incoming("M1", raw=raw, acknowledgment=MARKER.encode())])
    store.receive([incoming("M1", raw=raw + b"conflict", answer_conflict=MARKER.encode)])
    with store.begin() as tx:
        tx.resources.append([version(1, body=MARKER.encode(), own=MARKER.encode())])
        tx.resources.register_keys([PatientKey(uid(1), MARKER, MARKER)])
        tx.outbox.add("reg", 1, Event("k", MARKER.encode(), "1-1"), NOW)
        tx.audit.write([EVENT])
    database.close()
    kept = database.bytes_on_disk()
    assert b"ORU^R01" in kept
    assert MARKER.encode() not in kept
    assert incoming("M1", raw=raw).digest not in kept


def test_a_message_is_the_same_whether_packed_or_not(store):
    long, short = b"MSH|" + b"OBX|1|NM|same|same\r" * 500, b"MSH|short"
    ids = [one.id for one in store.receive([incoming("M1", raw=long), incoming("M2", raw=short)])]
    with store.begin(write=False) as tx:
        assert [tx.messages.get(id).raw for id in ids] == [long, short]


# --- keys -----------------------------------------------------------------------------------------------------------


def test_after_a_rotation_old_and_new_rows_are_read(empty_database):
    upgraded(empty_database.url)
    empty_database.open().receive([incoming("M1")])
    rotated = replace(KEYS, encryption={**KEYS.encryption, "k2": b"f" * 32}, active="k2")
    store = empty_database.again(rotated)
    store.upgrade()
    store.check_schema()
    store.receive([incoming("M2")])
    with store.begin(write=False) as tx:
        assert [tx.messages.get(one.id).control_id for one in tx.messages.find(MessageFilter())] == ["M2", "M1"]


def test_a_row_of_a_key_that_is_gone_says_which_key_is_missing(database):
    stored = database.open().receive([incoming("M1")])
    store = database.again(replace(KEYS, encryption={"k2": b"f" * 32}, active="k2"))
    with pytest.raises(KeysMissing, match="'k1'"), store.begin(write=False) as tx:
        tx.messages.get(stored[0].id)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (replace(KEYS, encryption={"k1": b"z" * 32}), "encryption k1"),
        (replace(KEYS, identity=b"z" * 32), "identity"),
        (replace(KEYS, index=b"z" * 32), "index"),
        (replace(KEYS, pseudonym=b"z" * 32), "pseudonym"),
        (replace(KEYS, audit=b"z" * 32), "audit"),
    ],
)
def test_keys_of_another_database_are_noticed_at_the_start(database, wrong, named):
    store = database.open(wrong)
    with pytest.raises(KeysMissing, match=f"the {named} key"):
        store.check_schema()
    with pytest.raises(KeysMissing, match=f"the {named} key"):
        store.upgrade()


def test_a_wrong_key_reads_nothing_and_says_so(database):
    stored = database.open().receive([incoming("M1")])
    store = database.again(replace(KEYS, encryption={"k1": b"z" * 32}))
    with pytest.raises(StoreError, match="wrong encryption key 'k1'"), store.begin(write=False) as tx:
        tx.messages.get(stored[0].id)


def test_a_value_moved_to_another_row_is_noticed(store):
    first, second = store.receive([incoming("M1"), incoming("M2")])
    run(store, f"UPDATE messages SET raw = (SELECT raw FROM messages WHERE id = {first.id}) WHERE id = {second.id}")
    with pytest.raises(StoreError, match="changed outside"), store.begin(write=False) as tx:
        tx.messages.get(second.id)


def test_without_an_active_key_there_is_no_store(database):
    with pytest.raises(KeysMissing):
        database.open(replace(KEYS, active="k9"))


# --- the schema -----------------------------------------------------------------------------------------------------


def test_an_empty_database_must_be_upgraded_first(empty_database):
    store = empty_database.open()
    with pytest.raises(SchemaMismatch, match="gateway db upgrade"):
        store.check_schema()
    with pytest.raises(SchemaMismatch, match="gateway db upgrade"):
        store.receive([incoming()])
    store.upgrade()
    store.check_schema()
    store.receive([incoming()])
    store.upgrade()
    with store.begin(write=False) as tx:
        assert len(tx.messages.find(MessageFilter())) == 1


def test_a_newer_database_is_refused(empty_database):
    store = empty_database.open()
    store.upgrade()
    run(store, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer than the program"):
        store.check_schema()
    with pytest.raises(SchemaMismatch, match="newer than the program"):
        store.upgrade()


# --- coming and going -----------------------------------------------------------------------------------------------


def test_a_store_that_answers_can_be_pinged(store):
    store.ping()


def test_every_thread_may_use_the_store_at_once(store):
    failures = []

    def work(number):
        try:
            for turn in range(5):
                store.receive([incoming(f"M{number}-{turn}")])
                with store.begin() as tx:
                    tx.audit.write([EVENT])
                with store.begin(write=False) as tx:
                    tx.messages.find(MessageFilter())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.begin(write=False) as tx:
        assert len(tx.messages.find(MessageFilter(limit=1000))) == 60


def test_a_server_that_was_restarted_is_used_again():
    server = PostgresServer()
    try:
        store = create_store(upgraded(server.database()), KEYS)
        store.receive([incoming("M1")])
        server.stop()
        with pytest.raises(StoreUnavailable):
            store.receive([incoming("M2")])
        with pytest.raises(StoreUnavailable):
            store.ping()
        server.start()
        assert [one.intake for one in store.receive([incoming("M1"), incoming("M2")])] == ["repeat", "new"]
        store.close()
    finally:
        server.remove()


def test_a_transaction_cut_off_by_the_server_is_unavailable_and_the_next_one_works(used_postgres):
    store = create_store(emptied(used_postgres), KEYS)

    def cut_off():
        with store.begin() as tx:
            tx.audit.write([EVENT])
            with store.begin() as other:
                other._unit.connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND datname = current_database()"
                    )
                )
            tx.audit.write([EVENT])

    with pytest.raises(StoreUnavailable):
        cut_off()
    with store.begin() as tx:
        tx.audit.write([EVENT])
    with store.begin(write=False) as tx:
        assert tx.audit.find() == [EVENT]
    store.close()


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "nonsense", ""])
def test_another_kind_of_database_is_refused(url):
    with pytest.raises(StoreError):
        create_store(url, KEYS)
