"""Many copies of what some messages left, put into every table past the gateway: a database as a million leave it.

A seed database, made by the real processes, is multiplied: each copy has further messages, patients, resources,
changes, deliveries, attempts and audit rows, with ids as random as real ones, so that every table and index has the
size and the order of keys of a database that grew. Each patient of the seed keeps its own ids in one copy (they are
spread over all), and only what was stored of these can be read; of all others the bodies are repeated and cannot be
opened.
"""

from __future__ import annotations

import random

from gateway.store.cipher import Cipher
from gateway.store.pages import opened, paged
from gateway.store.schema import STRIDE
from tests.story import KEYS

TABLES = ("messages", "pages", "versions", "typed", "amended", "deliveries", "attempts", "audit", "patient_keys")
SEALED = 2000
"""Rows of a seal."""
EVERY = 8 * 3600
"""Seconds from one copy to the next: a million messages in a year."""
_OWNER = "(SELECT p.patient FROM seed.pages p WHERE p.page >= v.change ORDER BY p.page LIMIT 1)"
_PREPARE = (
    *(f"CREATE TABLE seed.{table} AS SELECT * FROM {table}" for table in TABLES),
    "CREATE INDEX {in_seed}pages_page ON {of_seed}pages (page)",
    "CREATE TABLE seed.owned AS SELECT v.*, {owner} AS patient FROM seed.versions v",
    "DELETE FROM seed.owned WHERE patient = {nobody}",
    "CREATE INDEX {in_seed}owned_change ON {of_seed}owned (change)",
    "CREATE TABLE seed.homes (patient {id} PRIMARY KEY, home integer)",
    "DELETE FROM messages",
    "DELETE FROM pages WHERE patient <> {nobody}",
    "DELETE FROM versions WHERE id IN (SELECT id FROM seed.owned)",
    "DELETE FROM typed WHERE patient <> {nobody}",
    "DELETE FROM amended WHERE change IN (SELECT change FROM seed.owned)",
    "DELETE FROM deliveries WHERE patient <> {nobody}",
    "DELETE FROM attempts WHERE delivery NOT IN (SELECT id FROM deliveries)",
    "DELETE FROM audit WHERE action IN (SELECT action FROM seed.audit GROUP BY action HAVING count(*) > 20)",
    "DELETE FROM patient_keys",
    "DELETE FROM seals",
)
_COPY = (
    "{empty} seed.names",
    "INSERT INTO seed.names SELECT o.id, CASE WHEN h.home = {copy} THEN o.id ELSE {random_id} END"
    " FROM (SELECT DISTINCT id, patient FROM seed.owned) o JOIN seed.homes h ON h.patient = o.patient",
    "INSERT INTO messages (id, feed, site, control_id, message_type, lane, received_at, state, positive, digest, raw,"
    " acknowledgment, settled_at)"
    " SELECT id + {messages}, feed, site,"
    " substr(control_id, 1, 1) || (CAST(substr(control_id, 2) AS integer) + {messages}), message_type, lane,"
    " received_at - {time}, state, positive, {random_bytes}, raw, acknowledgment, settled_at - {time}"
    " FROM seed.messages ORDER BY id",
    "INSERT INTO pages SELECT page + {changes}, first_change + {changes}, n.new, message + {messages}, body"
    " FROM seed.pages p JOIN seed.names n ON n.id = p.patient ORDER BY page",
    "INSERT INTO versions SELECT n.new, version, change + {changes}"
    " FROM seed.owned o JOIN seed.names n ON n.id = o.id ORDER BY change",
    "INSERT INTO typed SELECT type, n.new, change + {changes}, page + {changes}"
    " FROM seed.typed t JOIN seed.names n ON n.id = t.patient ORDER BY change",
    "INSERT INTO amended SELECT change + {changes}, superseded, clocks FROM seed.amended"
    " WHERE change IN (SELECT change FROM seed.owned) ORDER BY change",
    "INSERT INTO deliveries (id, recipient, study, patient, state, sent, planned, number, attempts, claimed_at,"
    " claimed_upto, detail) SELECT d.id + {deliveries}, recipient, study, n.new, state, sent + {changes},"
    " planned + {changes}, number, attempts, claimed_at - {time}, claimed_upto + {changes}, detail"
    " FROM seed.deliveries d JOIN seed.names n ON n.id = d.patient ORDER BY d.id",
    "INSERT INTO attempts SELECT id + {attempts}, delivery + {deliveries}, number, started_at - {time},"
    " settled_at - {time}, outcome, detail, upto + {changes}, manifest, grounds FROM seed.attempts"
    " WHERE delivery IN (SELECT d.id FROM seed.deliveries d JOIN seed.names n ON n.id = d.patient) ORDER BY id",
    "INSERT INTO audit (id, at, action, actor, subject, detail) SELECT id + {audit}, at - {time}, action, actor,"
    " CASE WHEN subject LIKE 'delivery/%' THEN 'delivery/' || (CAST(substr(subject, 10) AS integer) + {deliveries})"
    " ELSE subject END, detail FROM seed.audit WHERE action IN (SELECT action FROM seed.audit GROUP BY action"
    " HAVING count(*) > 20) ORDER BY id",
    "INSERT INTO patient_keys SELECT CASE WHEN n.new = n.id THEN hash ELSE {random_bytes} END, n.new"
    " FROM seed.patient_keys k JOIN seed.names n ON n.id = k.patient",
)
_NUMBERED = ("messages", "deliveries", "attempts", "audit")

SQLITE = {
    "mark": "?",
    "time": "{} * 1000000",
    "empty": "DELETE FROM",
    "id": "blob",
    "nobody": "zeroblob(16)",
    "random_id": "randomblob(16)",
    "random_bytes": "randomblob(16)",
    "in_seed": "seed.",
    "of_seed": "",
    "owner": _OWNER,
}
POSTGRES = {
    "mark": "%s",
    "time": "make_interval(secs => {})",
    "empty": "TRUNCATE",
    "id": "uuid",
    "nobody": "CAST('00000000-0000-0000-0000-000000000000' AS uuid)",
    "random_id": "gen_random_uuid()",
    "random_bytes": "uuid_send(gen_random_uuid())",
    "in_seed": "",
    "of_seed": "seed.",
    "owner": _OWNER,
}


class Copies:
    """Fills a copy of the seed database, over one connection of its driver; ``words`` are its dialect's."""

    def __init__(self, connection, words):
        self._execute = connection.execute
        self._words = words
        self._mark = words["mark"]
        self.spans = {}

    def fill(self, copies, done=lambda: None):
        """Put so many copies of what is in the tables into them, instead of it; call ``done`` after each."""
        for statement in _PREPARE:
            self._execute(statement.format(**self._words))
        self._execute(f"CREATE TABLE seed.names (id {self._words['id']} PRIMARY KEY, new {self._words['id']})")
        for table in _NUMBERED:
            self.spans[table] = self._one(f"SELECT max(id) FROM seed.{table}")
        self.spans["changes"] = -(-self._one("SELECT max(page) FROM seed.pages") // STRIDE) * STRIDE
        patients = self._execute("SELECT DISTINCT patient FROM seed.owned ORDER BY patient").fetchall()
        draw = random.Random(1)
        self._homes = {patient: draw.randrange(copies) for (patient,) in patients}
        for each in self._homes.items():
            self._execute(f"INSERT INTO seed.homes VALUES ({self._mark}, {self._mark})", each)
        for copy in range(copies):
            shifts = {table: span * copy for table, span in self.spans.items()}
            time = self._words["time"].format((copies - copy) * EVERY)
            for statement in _COPY:
                self._execute(statement.format(**{**self._words, **shifts, "copy": copy, "time": time}))
            done()
        self._seal_bodies()
        self._seals()
        self._execute("DROP TABLE seed.names")

    def _seal_bodies(self):
        """Encrypt once more what can be read: an encrypted value is bound to its place."""
        cipher, mark = Cipher(KEYS), self._mark
        changes, messages = self.spans["changes"], self.spans["messages"]
        for patient, home in self._homes.items():
            found = self._execute(f"SELECT page, body FROM seed.pages WHERE patient = {mark}", (patient,)).fetchall()
            for page, body in found:
                versions = [
                    version.but(change=version.change + home * changes, message=version.message + home * messages)
                    for version in opened(cipher, page, bytes(body))
                ]
                (row,) = paged(cipher, versions)
                self._execute(f"UPDATE pages SET body = {mark} WHERE page = {mark}", (row.body, row.page))

    def _seals(self):
        """Seal every ledger up to its end, with seals that nobody could verify: only the newest is looked at."""
        number = 0
        for ledger in ("messages", "attempts", "audit"):
            after, newest = -(2**63), self._one(f"SELECT max(id) FROM {ledger}")
            while after < newest:
                upto = min(max(after, 0) + SEALED, newest)
                number += 1
                row = (number, ledger, after, upto, random.randbytes(20 * SEALED), random.randbytes(32))
                marks = ", ".join([self._mark] * 5)
                self._execute(
                    f'INSERT INTO seals (number, at, ledger, "after", upto, marks, mac)'
                    f" SELECT {self._mark}, max(received_at), {marks} FROM seed.messages",
                    row,
                )
                after = upto

    def _one(self, query):
        return self._execute(query).fetchone()[0]
