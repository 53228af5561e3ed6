"""The seals over the audit trail: a real database of each kind is doctored with plain SQL, and verifying names it."""

import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from gateway.model.delivery import DeliveryState
from gateway.ports import AuditEvent
from gateway.services.seal import ANCHOR, Sealer, SealSettings, read_anchor
from gateway.services.verify import verify
from gateway.store import create_store
from tests.contracts.stores import KEYS, MINUTE, NOW, SECOND, VIEW, attempt, incoming, uid
from tests.contracts.waiting import running, wait_for

LINES = [AuditEvent(NOW, "withheld", "edc", f"delivery/{number}", "consent: 2") for number in range(1, 6)]


class Clock:
    """A clock that is set."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sealer(store, tmp_path, clock):
    return Sealer(store, clock, "one", tmp_path / ANCHOR, SealSettings(batch=3))


@pytest.fixture
def sealed(store, sealer):
    """Five messages, two attempts and five lines, sealed in threes."""
    store.receive([incoming(f"M{number}") for number in range(5)])
    for number in (1, 2):
        settled(store, uid(number))
    with store.begin() as tx:
        tx.audit.write(LINES)
    assert sealer.step() == 5
    return store


def claimed(tx, patient):
    tx.deliveries.plan({(VIEW, patient): 10}, NOW)
    return tx.deliveries.claim(tx.deliveries.of_view(VIEW, patient).id, "one", NOW, MINUTE)


def settled(store, patient):
    with store.begin() as tx:
        delivery = claimed(tx, patient)
        done = replace(delivery, state=DeliveryState.IDLE, sent=10, due_at=None, lease_until=None)
        tx.deliveries.save(done, attempt(delivery.id, "accepted", 7, grounds="file abc"), "one")


@contextmanager
def plain(database):
    """A connection past the gateway, as whoever can reach the database has it."""
    if database.is_sqlite:
        with closing(sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            yield connection
    else:
        with psycopg.connect(database.url, autocommit=True) as connection:
            yield connection


def doctor(database, *statements):
    with plain(database) as connection:
        for statement in statements:
            connection.execute(statement)


def told(store, *anchors):
    return [misfit.what for misfit in verify(store, anchors).misfits]


def test_what_nobody_touched_is_intact(sealed):
    verdict = verify(sealed)

    assert verdict.intact
    assert dict(verdict.rows) == {"messages": 5, "attempts": 2, "audit": 5}
    assert (verdict.seals, verdict.unsealed) == (5, {"messages": 0, "attempts": 0, "audit": 0, "answers": 0})


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit SET detail = 'consent: 1' WHERE id = 4", "audit row 4 was changed after it was sealed at"),
        ("UPDATE messages SET positive = false WHERE id = 2", "messages row 2 was changed after"),
        ("UPDATE messages SET received_at = (SELECT max(received_at) FROM messages), feed = 'x' WHERE id = 5",
         "messages row 5 was changed"),
        ("UPDATE attempts SET outcome = 'unknown' WHERE id = 1", "attempts row 1 was changed"),
        ("UPDATE attempts SET grounds = 'file abd' WHERE id = 2", "attempts row 2 was changed"),
        ("UPDATE deliveries SET recipient = 'registry' WHERE id = 2", "attempts row 2 was changed"),
        ("DELETE FROM audit WHERE id = 1", "audit row 1 is missing: sealed at"),
        ("DELETE FROM messages WHERE id IN (2, 3)", "messages rows 2 to 3 (2 rows) are missing"),
        ("DELETE FROM attempts", "attempts rows 1 to 2 (2 rows) are missing"),
    ],
)  # fmt: skip
def test_a_changed_or_missing_row_is_named(database, sealed, statement, words):
    doctor(database, statement)

    (misfit,) = told(sealed)
    assert misfit.startswith(words)


def test_a_row_put_in_later_is_named(database, sealed):
    doctor(
        database,
        "DELETE FROM audit WHERE id = 2",
        "INSERT INTO audit (id, at, action, actor, subject, detail) SELECT -7, at, action, actor, subject, detail"
        " FROM audit WHERE id = 3",
        "INSERT INTO audit (id, at, action, actor, subject, detail) SELECT 2, at, action, actor, subject, detail"
        " FROM audit WHERE id = 3",
    ) if database.is_sqlite else doctor(
        database,
        "DELETE FROM audit WHERE id = 2",
        "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT -7, at, action, actor, subject, detail FROM audit"
        " WHERE id = 3",
        "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT 2, at, action, actor, subject, detail FROM audit"
        " WHERE id = 3",
    )

    inserted, changed = told(sealed)
    assert inserted.startswith("audit row -7 was not there when it was sealed")
    assert changed.startswith("audit row 2 was changed")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM seals WHERE number = 3", "seal 3 is missing, before the one made at"),
        ("DELETE FROM seals WHERE number < 3", "seals 1 to 2 are missing"),
        ("UPDATE seals SET upto = upto + 1 WHERE number = 2", "seal 2 or the one before it is not the one"),
        ("UPDATE seals SET marks = (SELECT marks FROM seals WHERE number = 1) WHERE number = 2", "seal 2 or the one"),
    ],
)
def test_a_seal_that_is_missing_or_changed_is_named(database, sealed, statement, words):
    doctor(database, statement)

    assert told(sealed)[0].startswith(words)


def test_a_cut_tail_is_known_by_the_seal_outside_the_database(database, sealed, tmp_path):
    anchor = read_anchor(tmp_path / ANCHOR)
    doctor(database, "DELETE FROM audit", "DELETE FROM seals WHERE ledger = 'audit'")

    assert told(sealed) == []
    (misfit,) = told(sealed, anchor)
    assert misfit.startswith("seal 5 is gone: the tail was cut")
    assert "the newest left is seal 3" in misfit


def test_a_cut_tail_stays_known_when_sealing_goes_on(database, sealed, sealer, tmp_path):
    anchor = read_anchor(tmp_path / ANCHOR)
    doctor(database, "DELETE FROM audit", "DELETE FROM seals WHERE ledger = 'audit'")
    with sealed.begin() as tx:
        tx.audit.write(LINES[::-1])

    sealer.step()

    assert read_anchor(tmp_path / ANCHOR) == anchor
    (misfit,) = told(sealed, anchor)
    assert "the chain was written anew" in misfit


def test_what_comes_after_a_seal_is_sealed_the_next_time(sealed, sealer):
    sealed.receive([incoming("later")])
    assert verify(sealed).unsealed["messages"] == 1

    assert sealer.step() == 1
    assert sealer.step() == 0
    assert verify(sealed).intact
    assert verify(sealed).rows["messages"] == 6


def test_an_attempt_under_way_is_sealed_once_it_is_settled(store, sealer):
    with store.begin() as tx:
        delivery = claimed(tx, uid(1))
        tx.deliveries.save(replace(delivery, window=10), attempt(delivery.id, "unknown"), "one")
    sealer.step()
    assert verify(store).unsealed["attempts"] == 1

    with store.begin() as tx:
        done = replace(delivery, state=DeliveryState.IDLE, sent=10, due_at=None, lease_until=None)
        tx.deliveries.save(done, attempt(delivery.id), "one")
    sealer.step()

    verdict = verify(store)
    assert (verdict.intact, verdict.unsealed["attempts"]) == (True, 0)


def test_an_attempt_interrupted_by_a_crash_is_sealed_as_such(store, sealer):
    with store.begin() as tx:
        delivery = claimed(tx, uid(1))
        tx.deliveries.save(replace(delivery, window=10), attempt(delivery.id, "unknown"), "one")
    with store.begin() as tx:
        assert tx.deliveries.expire(NOW + MINUTE) == 1

    sealer.step()

    verdict = verify(store)
    assert (verdict.intact, verdict.rows["attempts"]) == (True, 1)


def test_a_process_that_ends_seals_what_is_left_and_lets_another_go_on(store, sealer, clock, tmp_path):
    store.receive([incoming("M1")])
    with running(sealer.run):
        wait_for(lambda: verify(store).seals == 1, what="the first seal")
        store.receive([incoming("M2")])
    assert verify(store).rows["messages"] == 2

    store.receive([incoming("M3")])
    assert Sealer(store, clock, "other", tmp_path / "other.json").step() == 1


def test_another_key_fits_no_seal(database, sealed):
    stranger = create_store(database.url, replace(KEYS, audit=b"b" * 32), read_only=database.is_sqlite)

    with closing(stranger):
        assert "is not the one that was made" in told(stranger)[0]


def test_of_two_processes_one_seals_until_its_lease_ends(store, sealer, clock, tmp_path):
    other = Sealer(store, clock, "other", tmp_path / "other.json", SealSettings(batch=3))
    store.receive([incoming("M1")])
    assert sealer.step() == 1

    store.receive([incoming("M2")])
    assert other.step() == 0
    clock.now += sealer.settings.lease + SECOND
    assert other.step() == 1
    assert sealer.step() == 0
    assert verify(store).intact


def test_nothing_is_sealed_while_an_earlier_row_may_still_come(database, store, sealer):
    """One transaction draws an id, another commits a higher one: the lower one still arrives."""
    if database.is_sqlite:
        return  # one writer at a time: nobody draws an id beside another transaction
    with psycopg.connect(database.url) as slow:
        slow.execute("SELECT nextval('audit_id_seq')")
        with store.begin() as tx:
            tx.audit.write(LINES[:1])
        assert sealer.step() is None
        slow.execute(
            "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT 1, at, action, actor, subject, detail FROM audit"
        )
        assert sealer.step() is None
        slow.commit()

    assert sealer.step() == 1
    verdict = verify(store)
    assert (verdict.intact, verdict.rows["audit"]) == (True, 2)


def test_writers_beside_the_sealer_leave_no_row_unsealed_below_a_seal(store, sealer):
    """Rows committed out of the order of their ids, and rolled back ones, all fit."""
    sealer.settings = SealSettings(batch=20)

    def write(name):
        for number in range(40):
            with suppress(LookupError), store.begin() as tx:
                tx.audit.write([AuditEvent(NOW, name, "writer", f"row/{number}")])
                if number % 4 == 0:
                    raise LookupError
            store.receive([incoming(f"{name}{number}")])

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    made = 0
    while any(writer.is_alive() for writer in writers):
        made += sealer.step() or 0
    for writer in writers:
        writer.join()
    wait_for(lambda: sealer.step() == 0, what="everything sealed")

    verdict = verify(store)
    assert made
    assert verdict.misfits == []
    assert dict(verdict.rows) == {"messages": 160, "audit": 120}
    assert sum(verdict.unsealed.values()) == 0
