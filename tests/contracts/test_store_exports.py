"""Bulk exports and their parts: the same on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from gateway.errors import StaleClaim, StoreError
from gateway.ports import Export, Part, Shown
from gateway.services.rotate import reseal
from tests.contracts.stores import DAY, KEYS, MINUTE, NOW, SECOND, uid

EXPORT = Export(uid(1), "edc", b"what was asked", NOW, NOW + DAY)


def part(file=0, number=0, body=b"{}\n", **changed):
    shown = (Shown("Observation", uid(7), 2),)
    return replace(Part(file, number, "output", "Observation", 1, b"whose it is", body, shown), **changed)


def begun(store, *exports):
    with store.begin() as tx:
        for export in exports:
            tx.exports.add(export)


def claimed(store, owner="a", now=NOW):
    with store.begin() as tx:
        return tx.exports.claim(owner, now, MINUTE)


def advanced(store, *parts, owner="a", until=NOW + MINUTE, began_at=b"", **progress):
    export = replace(EXPORT, **progress)
    with store.begin() as tx:
        tx.exports.advance(export, parts, owner, until, began_at)
    return export


def parts_of(store, file=0, after=-1, limit=99):
    with store.begin(write=False) as tx:
        return tx.exports.parts(EXPORT.id, file, after, limit)


def test_an_export_is_found_as_it_was_added(database):
    begun(database.open(), EXPORT)

    with database.again().begin(write=False) as tx:
        assert tx.exports.get(EXPORT.id) == EXPORT
        assert tx.exports.get(uid(2)) is None
        assert tx.exports.get("no-such-id") is None


def test_what_was_asked_is_nowhere_to_be_read(database):
    begun(database.open(), EXPORT)
    claimed(database.open() if not database.is_sqlite else database.again())
    store = database.again()
    advanced(store, part(body=b"a secret of somebody"), cursor=b"a patient's id", owner="a")
    database.close()

    found = database.bytes_on_disk()
    assert not any(secret in found for secret in (b"what was asked", b"a secret of somebody", b"a patient's id"))


def test_one_process_at_a_time_writes_an_export(store):
    begun(store, EXPORT)

    assert claimed(store, "a").id == EXPORT.id
    assert claimed(store, "b") is None
    assert claimed(store, "a", NOW + SECOND).id == EXPORT.id
    assert claimed(store, "b", NOW + MINUTE) is None
    assert claimed(store, "b", NOW + SECOND + MINUTE).id == EXPORT.id


def test_the_oldest_export_that_nobody_writes_is_taken_first(store):
    younger = replace(EXPORT, id=uid(2), started_at=NOW + SECOND)
    begun(store, younger, EXPORT, replace(EXPORT, id=uid(3), state="done"))

    assert [claimed(store, owner).id for owner in "ab"] == [EXPORT.id, younger.id]
    assert claimed(store, "c") is None


def test_parts_and_progress_are_written_together(database):
    store = database.open()
    begun(store, EXPORT)
    claimed(store)

    moved = advanced(store, part(), part(number=1), part(file=1, type="Patient"), cursor=b"p7", done=1, total=9)

    store = database.again()
    assert parts_of(store) == [part(), part(number=1)]
    assert parts_of(store, after=0) == [part(number=1)]
    assert parts_of(store, limit=1) == [part()]
    with store.begin(write=False) as tx:
        assert tx.exports.get(EXPORT.id) == moved
        found = [(line.file, line.number, line.type, line.about) for line in tx.exports.lines(EXPORT.id)]
    about = b"whose it is"
    assert found == [(0, 0, "Observation", about), (0, 1, "Observation", about), (1, 0, "Patient", about)]


def test_a_process_that_lost_its_export_writes_nothing(store):
    begun(store, EXPORT)
    claimed(store, "a")
    claimed(store, "b", NOW + 2 * MINUTE)

    with pytest.raises(StaleClaim):
        advanced(store, part(), owner="a")

    assert parts_of(store) == []


def test_nobody_writes_the_same_parts_twice(store):
    begun(store, EXPORT)
    claimed(store)
    advanced(store, part(), cursor=b"p7")

    with pytest.raises(StaleClaim):
        advanced(store, part(number=1), cursor=b"p7", began_at=b"")

    assert parts_of(store) == [part()]


def test_an_export_that_was_dropped_is_gone_for_everybody(store):
    begun(store, EXPORT)
    claimed(store)
    with store.begin() as tx:
        tx.exports.drop(EXPORT.id)

    with pytest.raises(StaleClaim):
        advanced(store, part())
    with store.begin() as tx:
        assert tx.exports.get(EXPORT.id) is None
        assert tx.exports.claim("a", NOW, MINUTE) is None
        assert tx.exports.kept("edc") == (0, 0)


def test_what_a_client_has_is_counted(store):
    others = [replace(EXPORT, id=uid(n), client=client, state=state) for n, client, state in OTHERS]
    begun(store, EXPORT, *others)

    with store.begin() as tx:
        assert tx.exports.kept("edc") == (2, 4)


OTHERS = ((2, "edc", "begun"), (3, "edc", "done"), (4, "edc", "failed"), (5, "edc", "dropped"), (6, "ctms", "begun"))


def test_what_expired_is_swept_away_bit_by_bit_and_nothing_else(store):
    kept = replace(EXPORT, id=uid(2), client="ctms", expires_at=NOW + 9 * DAY)
    begun(store, EXPORT, kept)
    claimed(store)
    advanced(store, *(part(number=number) for number in range(3)), state="done", until=None)

    with store.begin() as tx:
        assert tx.exports.sweep(NOW, 2) == 0
        assert [tx.exports.sweep(NOW + DAY, 2) for _ in range(4)] == [2, 1, 1, 0]
        assert tx.exports.get(EXPORT.id) is None
        assert tx.exports.get(kept.id) == kept
    assert parts_of(store) == []


def test_exports_stay_as_they_are_when_keys_rotate(database):
    store = database.open()
    begun(store, EXPORT)
    claimed(store)
    moved = advanced(store, part(), part(number=1), cursor=b"p7")

    store.take_keys(replace(KEYS, encryption={**KEYS.encryption, "k2": b"n" * 32}, active="k2"))
    assert reseal(store, lambda: False, lambda _rows: None).finished

    store = database.again(replace(KEYS, encryption={"k2": b"n" * 32}, active="k2"))
    assert parts_of(store) == [part(), part(number=1)]
    with store.begin(write=False) as tx:
        assert tx.exports.get(EXPORT.id) == moved


def test_a_part_put_in_anothers_place_is_refused(store):
    begun(store, EXPORT)
    claimed(store)
    advanced(store, part(), part(number=1))
    with store._backend.writer.begin() as connection:
        connection.execute(
            text("UPDATE export_parts SET body = (SELECT body FROM export_parts WHERE number = 0) WHERE number = 1")
        )

    with pytest.raises(StoreError, match="changed outside"):
        parts_of(store)
