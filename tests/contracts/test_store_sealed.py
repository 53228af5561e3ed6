"""Encrypted columns under rotating keys: the same on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest
from sqlalchemy import LargeBinary, text

from gateway.errors import KeysMissing
from gateway.ports import Event, MessageFilter
from gateway.services.rotate import reseal
from gateway.store.schema import metadata
from gateway.store.sealed import CLEAR, SEALED
from gateway.store.types import Id
from tests.contracts.stores import DAY, KEYS, NOW, incoming, uid, version

K2 = b"n" * 32
ROTATED = replace(KEYS, encryption={**KEYS.encryption, "k2": K2}, active="k2")
WITHOUT_K1 = replace(KEYS, encryption={"k2": K2}, active="k2")


def fill(store, count=3):
    """Write rows into every table that holds encrypted values."""
    store.receive([incoming(f"M{number}") for number in range(count)])
    with store.begin() as tx:
        tx.resources.append([version(number, own=b"{}" if number % 2 else None) for number in range(1, count + 1)])
        tx.outbox.add("edc", 1, Event("edc.study.Patient", b"body of m1", "m1"), NOW)


def everything(store):
    with store.begin(write=False) as tx:
        messages = [tx.messages.get(one.id) for one in tx.messages.find(MessageFilter())]
        return (
            messages,
            tx.resources.of_patient(uid(900), every_version=True),
            tx.outbox.unreceipted("edc", NOW + DAY, 9),
        )


def in_use(store):
    with store.begin(write=False) as tx:
        return tx.sealing.keys_in_use()


def rotate(store, stop=lambda: False):
    return reseal(store, stop, lambda _rows: None)


def test_every_binary_column_is_encrypted_or_says_why_not():
    binary = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and not isinstance(column.type, Id)
    }
    sealed = {f"{one.table.name}.{name}" for one in SEALED for name in one.columns}
    assert binary == sealed | CLEAR.keys()


def test_rotation_leaves_every_row_as_it_was_under_the_new_key_alone(database):
    store = database.open()
    fill(store)
    before = everything(store)
    written = sum(in_use(store).values())

    store.take_keys(ROTATED)
    rotation = rotate(store)

    assert (rotation.finished, rotation.rows, in_use(store)) == (True, written, {"k2": written})
    assert everything(database.again(WITHOUT_K1)) == before


def test_an_interrupted_rotation_goes_on_where_it_stopped(database):
    store = database.open()
    fill(store)
    store.take_keys(ROTATED)
    stops = iter([False, True])
    first = rotate(store, lambda: next(stops))

    store = database.again(ROTATED)
    second = rotate(store)

    assert (first.finished, second.finished) == (False, True)
    assert first.rows > 0
    assert list(in_use(store)) == ["k2"]
    assert rotate(store).rows == 0


def test_a_row_changed_outside_is_named_and_stops_nothing(database):
    store = database.open()
    fill(store)
    with store._backend.writer.begin() as connection:
        connection.execute(
            text("UPDATE messages SET raw = (SELECT acknowledgment FROM messages WHERE id = 1) WHERE id = 2")
        )
    store.take_keys(ROTATED)

    rotation = rotate(store)

    assert (rotation.finished, rotation.unreadable) == (True, ["messages 2"])
    assert in_use(store)["k1"] == 1


def test_a_process_reads_what_another_wrote_under_a_key_added_since(database):
    told = []
    reader = database.open(read_only=True, changed=lambda: ROTATED if told else None)
    database.open(ROTATED).receive([incoming("FROM-ANOTHER")])

    with pytest.raises(KeysMissing, match="'k2' is not in the key file"):
        everything(reader)
    told.append("the key file came")

    assert [message.control_id for message in everything(reader)[0]] == ["FROM-ANOTHER"]


def test_a_running_process_begins_to_use_the_new_key_by_itself(database):
    store = database.open(changed=lambda: ROTATED)
    store._cipher._look_again = 0.0  # a second later

    store.receive([incoming("M1")])

    assert in_use(store) == {"k2": 1}
