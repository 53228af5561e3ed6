"""The FHIR API over real sockets: a process of ``gateway serve``, a token of its token endpoint, answers noted.

``python -m tests.bench api``; BENCH_API (sqlite, postgres) and BENCH_SUBJECTS (comma-separated) make it shorter. Ten
studies, 20 and 2,000 subjects with 500 Observations each. Told are seconds as they passed, which other work on the
machine makes longer, and CPU time of the gateway and of PostgreSQL, which it does not.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import httpx

from gateway.bootstrap.parts import keys_of, open_store, policy_of
from gateway.model.access import scopes_of
from gateway.model.client import Client, Credential
from tests.bench.asking import Connection, ask
from tests.bench.figures import report
from tests.bench.growth import DOCUMENTED, _execute, _of_family
from tests.bench.stored import BEGAN, CODES, EACH, MESSAGES, RARE, fill, results
from tests.bench.unit import ROOT, Unit
from tests.releasing import uid
from tests.servers.postgres import PostgresServer
from tests.smart import assertion, key_set, token_request

SIZES = tuple(int(size) for size in os.environ.get("BENCH_SUBJECTS", "20,2000").split(","))
DEEP = 500
CONNECTIONS = 8
NAME = "bench"
STUDIES = tuple(f"s{number}" for number in range(10))
RECIPIENT = """
id = "bench"
kind = "pull"
studies = [{studies}]
[release.ResearchStudy]
elements = ["identifier", "title", "status"]
[release.Organization]
elements = ["name", "identifier"]
[release.Patient]
elements = ["identifier", "gender", "birthDate"]
[release.ResearchSubject]
elements = ["identifier", "status", "period", "study", "individual", "consent"]
[release.Consent]
elements = ["status", "scope", "category", "patient", "dateTime", "policyRule", "provision"]
[release.Specimen]
elements = ["type.coding", "subject", "collection.collectedDateTime"]
[release.Observation]
elements = ["status", "category", "code.coding", "subject", "effectiveDateTime", "issued", "performer", "valueQuantity",
    "referenceRange", "specimen"]
[release.DiagnosticReport]
elements = ["status", "category", "code.coding", "subject", "effectiveDateTime", "result", "specimen"]
[release.Provenance]
elements = ["target", "recorded", "agent.who"]
"""


class ApiUnit(Unit):
    """A gateway that is only asked; ``subjects`` are stored before it starts."""

    def __init__(self, folder, subjects, database_url=""):
        super().__init__(folder, 0, database_url=database_url, layout=(("api", ("api",)),))
        self._subjects = subjects

    def __enter__(self):
        self.prepare()
        self.start("api")
        return self

    def prepare(self):
        """Make the database, unless it is there, and let the client in."""
        store = open_store(self.settings)
        store.upgrade()
        policy = policy_of(self.settings, keys_of(self.settings))
        client = Client(
            NAME,
            policy.views,
            scopes_of("system/*.rs"),
            Credential(key_set(("ES384", "k1"))),
            datetime.now(UTC),
            per_minute=10**9,
        )
        with store.begin() as tx:
            known = not tx.clients.add(client)
            if known:
                tx.clients.save(client)
        if not known:
            fill(store, [policy.studies[id] for id in STUDIES], self._subjects)
        store.close()

    def rights(self, study):
        """Return what the client may see of a study."""
        policy = policy_of(self.settings, keys_of(self.settings))
        return next(found for view in policy.views if view.study == study and (found := policy.rights(view)))

    def token(self, address):
        """Get an access token as a client does."""
        form = token_request(assertion(NAME, f"{address}/auth/token"))
        return httpx.post(f"{address}/auth/token", data=form).raise_for_status().json()["access_token"]

    def _write_config(self, receiver, workers):
        if self._config.exists():
            return
        for folder in ("studies", "recipients", "sites"):
            (self._config / folder).mkdir(parents=True)
        (self._config / "gateway.toml").write_text('name = "A unit of the benchmarks"\n[log]\nlevel = "warning"\n')
        shutil.copytree(ROOT / "fixtures" / "config" / "codes", self._config / "codes")
        names = ", ".join(f'"{id}"' for id in STUDIES)
        (self._config / "recipients" / "bench.toml").write_text(RECIPIENT.format(studies=names))
        for id in STUDIES:
            study = {"resourceType": "ResearchStudy", "id": id, "status": "active", "title": f"Study {id}"}
            (self._config / "studies" / f"{id}.json").write_text(json.dumps(study))


class Bench:
    """Requests to one unit and what they cost. ``used``: the seconds of CPU time of a database server."""

    def __init__(self, unit, address, name, subjects, used=lambda: 0.0):
        self.unit = unit
        self.address = address
        self.name = name
        self.subjects = subjects
        self.used = used
        self.draw = random.Random(1)

    @property
    def headers(self):
        """Return the headers of a client."""
        return [("Authorization", f"Bearer {self.unit.token(self.address)}"), ("Accept", "application/fhir+json")]

    def measure(self, what, paths, connections=1, *, rate=None, p99=None):
        """Ask for the paths and tell what each cost; return the milliseconds of CPU time of one."""
        headers = self.headers
        ask(self.address, headers, paths[: max(connections, len(paths) // 10)], connections)
        before, server = sum(self.unit.cpu().values()), self.used()
        asked = ask(self.address, headers, paths, connections)
        own = (sum(self.unit.cpu().values()) - before) / len(paths) * 1000
        others = (self.used() - server) / len(paths) * 1000
        figure = f"api.{self.name}.at_{self.subjects * MESSAGES * EACH}.{what}"
        spread = [
            ("p50 ms", asked.percentile(0.5)),
            ("p99 ms", asked.percentile(0.99)),
            ("KB", asked.size / 1000 / len(paths)),
        ]
        report(f"{figure}.cpu", own + others, "ms/request", limit=[("server", others), *spread])
        if rate:
            report(f"{figure}.rate", len(paths) / asked.seconds, "requests/s", target=rate)
        if p99:
            report(f"{figure}.p99", asked.percentile(0.99), "ms", target=p99)
        return own + others

    # --- what is asked for ------------------------------------------------------------------------------------------

    def some(self):
        """Return a subject's number and the rights under which it is seen."""
        number = self.draw.randrange(self.subjects)
        return number, self.unit.rights_of[STUDIES[number % len(STUDIES)]]

    def reads(self, count):
        """Return addresses of Observations of many subjects."""
        for _ in range(count):
            number, rights = self.some()
            place = self.draw.randrange(MESSAGES)
            found = list(results(number, uid(f"patient {number}"), place, BEGAN + timedelta(days=place)))
            yield f"/fhir/r4/Observation/{rights.public_id(found[1 + self.draw.randrange(EACH)]['id'])}"

    def searches(self, count, more=""):
        """Return searches by subject, code and date that find fifty Observations, of many subjects."""
        for _ in range(count):
            number, rights = self.some()
            patient = rights.public_id(uid(f"patient {number}"))
            code = f"http://loinc.org|{self.draw.choice(CODES)[0]}"
            since = (BEGAN + timedelta(days=4)).date().isoformat()
            asked = f"patient={patient}&code={quote(code)}&date=ge{since}&_count=50{more}"
            yield f"/fhir/r4/Observation?{asked}"

    def of_study(self, path):
        """Return a search with the study's id in it."""
        rights = self.unit.rights_of["s3"]
        return f"/fhir/r4/{path}".format(study=rights.public_id(rights.study.resource))

    def page(self, number):
        """Return the address of a page of the Observations of all studies."""
        connection, path = Connection(self.address, self.headers), "/fhir/r4/Observation?_count=50"
        for _ in range(number - 1):
            _, body = connection.get(path)
            path = next(one["url"] for one in json.loads(body)["link"] if one["relation"] == "next")
            path = urlsplit(path).path + "?" + urlsplit(path).query
        return path

    def run(self):
        """Measure everything."""
        costs = {
            "read": self.measure("read", list(self.reads(4000)), CONNECTIONS, rate=1000),
            "search": self.measure("search", list(self.searches(600)), p99=30),
            "include": self.measure("include", list(self.searches(200, "&_include=Observation:specimen"))),
        }
        first, deep = self.page(1), self.page(min(DEEP, self.subjects * MESSAGES * EACH // 50))
        shallow = self.measure("page_1", [first] * 200)
        report(f"api.{self.name}.page_{DEEP}", self.measure(f"page_{DEEP}", [deep] * 200) / shallow, "times page 1")
        costs["page"] = shallow
        self.measure("subjects", [self.of_study("ResearchSubject?study=ResearchStudy/{study}&_count=50")] * 50)
        newest = (BEGAN + timedelta(days=MESSAGES - 1, hours=12)).isoformat().replace("+00:00", "Z")
        self.measure("incremental", [f"/fhir/r4/Observation?_lastUpdated=gt{newest}&_count=50"] * 3)
        self.measure("rare_code", [f"/fhir/r4/Observation?code=http://loinc.org|{RARE}&_count=50"] * 3)
        return costs


def one(name, folder, subjects, url="", used=lambda: 0.0):
    """Fill a database and measure."""
    with ApiUnit(folder, subjects, url) as unit:
        unit.rights_of = {study: unit.rights(study) for study in STUDIES}
        return Bench(unit, unit.addresses["api"], name, subjects, used).run()


def compare(name, runs):
    """Tell how much more a request costs where more is stored."""
    few, many = runs[0], runs[-1]
    for what in few:
        report(f"api.{name}.{what}.growth", many[what] / few[what], "times at the smaller size", target=1.2)


def embedded():
    """Ask SQLite files."""
    runs = []
    for subjects in SIZES:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DISK")) as folder:
            runs.append(one("sqlite", folder, subjects))
    compare("sqlite", runs)


def servers():
    """Ask databases of one PostgreSQL server."""
    server = PostgresServer()
    for setting in DOCUMENTED:
        _execute(server.database(), f"ALTER SYSTEM SET {setting}")
    server.stop()
    server.start()
    try:
        runs = []
        for subjects in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
                runs.append(one("postgres", folder, subjects, server.database(), lambda pid=pid: _of_family(pid)))
        compare("postgres", runs)
    finally:
        server.remove()


def main():
    """Run the benchmark."""
    for name in os.environ.get("BENCH_API", "sqlite postgres").split():
        {"sqlite": embedded, "postgres": servers}[name]()


if __name__ == "__main__":
    main()
