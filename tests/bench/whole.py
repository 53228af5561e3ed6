"""MLLP to delivered HTTP: messages of 20 observations for enrolled patients, every step durable, all roles running.

``python -m tests.bench whole``. The gateway has a process of its own (and its translating workers); the sender and the
receiver have theirs. Embedded on SQLite, then on PostgreSQL and RabbitMQ started for this run.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response

from adapters.hospital.client import Target, send
from gateway.bootstrap.roles import Gateway
from gateway.cli.base import shipped_config
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.settings import load
from tests.bench.figures import message, report
from tests.servers import rabbitmq
from tests.servers.postgres import PostgresServer, free_port

PATIENTS = 50
MESSAGES = 3000
CONNECTIONS = 8
LIMIT_SECONDS = 180

RELEASED = {
    "Patient": ReleaseRule(("identifier", "gender", "birthDate")),
    "ResearchSubject": ReleaseRule(("identifier", "status", "period", "study", "individual")),
    "Observation": ReleaseRule(("status", "code.coding", "subject", "effectiveDateTime", "valueQuantity")),
    "DiagnosticReport": ReleaseRule(("status", "code.coding", "subject", "effectiveDateTime", "result")),
}


def enrol(number):
    """Return the registration of a patient on a study."""
    lines = [
        f"MSH|^~\\&|CTO|SC|GW|CRU|20260201080000||CRM^C01|E{number}|P|2.5.1",
        f"PID|1||{number}^^^SANCELSO^MR||Doe^Jane||19700101|F",
        f"CSR|MLD||SC|MLD-{number}||20260201|||20260201|E",
    ]
    return ("\r".join(lines) + "\r").encode()


def receive(port):
    """Accept everything, as a trial system would after storing it."""
    app = FastAPI(openapi_url=None)

    @app.post("/fhir")
    async def bundle(request: Request) -> Response:
        await request.body()
        return Response(b'{"resourceType":"Bundle","type":"transaction-response"}', media_type="application/fhir+json")

    uvicorn.run(app, port=port, log_config=None, access_log=False)


def run(data, database_url, broker_url, receiver, connection):
    """Run the gateway; answer "settled?" with whether nothing waits, end on "stop" with its memory in MiB."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    environment = {"GATEWAY_DATA": data, "GATEWAY_DATABASE_URL": database_url, "GATEWAY_BROKER_URL": broker_url}
    settings = load(shipped_config(), environment)
    recipient = Recipient("edc", "fhir_server", ("mld",), RELEASED, address=f"http://127.0.0.1:{receiver}/fhir")
    gateway = Gateway(
        replace(
            settings,
            recipients={"edc": recipient},
            feeds={feed.id: replace(feed, port=0) for feed in settings.feeds.values() if feed.kind == "mllp"},
            gateway=settings.gateway.model_copy(update={"http": settings.gateway.http.model_copy(update={"port": 0})}),
        )
    )
    if not database_url.startswith("sqlite"):
        gateway.store.upgrade()
    gateway.start()
    connection.send({name: int(address.rpartition(":")[2]) for name, address in gateway.addresses.items()})
    while connection.recv() != "stop":
        with gateway.store.begin(write=False) as tx:
            connection.send(not any(line.waiting for line in [*tx.feed_queues(), *tx.recipient_queues()]))
    connection.send(memory())
    gateway.stop()


def memory():
    """Resident MiB of this process and its children."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(name, database_url, broker_url, folder):
    """Send, wait until everything is delivered, report."""
    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    receiver = free_port()
    far = spawn.Process(target=receive, args=(receiver,), daemon=True)
    far.start()
    child = spawn.Process(target=run, args=(folder, database_url, broker_url, receiver, its))
    child.start()
    ports = ours.recv()
    send([enrol(number) for number in range(PATIENTS)], Target("127.0.0.1", ports["trials"]))
    settle(ours)
    messages = [message(number, PATIENTS, "SANCELSO") for number in range(MESSAGES)]
    began = time.perf_counter()
    done = send(messages, Target("127.0.0.1", ports["lis"]), connections=CONNECTIONS)
    if set(done.codes) != {"AA"}:
        sys.exit(f"not everything was accepted: {dict(done.codes)} {dict(done.errors)}")
    settle(ours)
    took = time.perf_counter() - began
    ours.send("stop")
    report(f"{name}.delivered", MESSAGES / took, "messages/s")
    report(f"{name}.acknowledged", done.per_second, "messages/s")
    report(f"{name}.acknowledged.p99", done.percentile(99) * 1000, "ms")
    report(f"{name}.memory", ours.recv(), "MiB")
    child.join()
    far.terminate()
    far.join()


def settle(connection):
    """Wait until nothing waits."""
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        connection.send("settled?")
        if connection.recv():
            return
        time.sleep(0.05)
    sys.exit("not everything was delivered in time")


@contextmanager
def postgres():
    """Yield the URL of an empty database of a server of our own."""
    server = PostgresServer()
    try:
        yield server.database().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.remove()


@contextmanager
def broker():
    """Yield the URL of a RabbitMQ node of our own."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
    folder.chmod(0o755)
    node, running = rabbitmq.start(folder)
    try:
        yield node.url
    finally:
        rabbitmq.stop(node, running)
        shutil.rmtree(folder, ignore_errors=True)


def main():
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        measure("whole.embedded", f"sqlite:///{folder}/gateway.db", "", folder)
    with tempfile.TemporaryDirectory() as folder, postgres() as database, broker() as url:
        measure("whole.servers", database, url, folder)


if __name__ == "__main__":
    main()
