"""Passwords, tokens and keys appear nowhere: whatever is printed, logged, stored, or shown of a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import click
import pytest
import typer

from gateway.cli import app, load
from tests.clear import arguments, clear_columns
from tests.command import gateway
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import Deployment

PASSWORDS = {"database": "Sesame-database-1", "broker": "Sesame-broker-2", "recipient": "Sesame-recipient-3"}
ENDLESS = {("serve",), ("demo",)}


def commands(command=None, words=()):
    """Every command that can be given without arguments."""
    load()
    command = command or typer.main.get_command(app)
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        return [found for name, one in command.commands.items() for found in commands(one, (*words, name))]
    needs = any(parameter.required for parameter in command.params)
    return [] if needs or words in ENDLESS else [words]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, new_postgres_database, rabbitmq):
    """A deployment that is not started, whose broker refuses the password it is given."""
    database = new_postgres_database().replace("gateway@", f"gateway:{PASSWORDS['database']}@")
    broker = rabbitmq.url_of("guest", PASSWORDS["broker"])
    made = Deployment(tmp_path_factory.mktemp("secrets"), database_url=database, broker_url=broker)
    made.environment |= dict.fromkeys(("REGISTRY_SECRET",), PASSWORDS["recipient"])
    assert gateway("db", "upgrade", environment=made.environment).status == 0
    yield made
    made.__exit__()


@pytest.fixture(scope="module")
def secrets(deployment):
    """Everything that must not be seen: passwords, and the keys of the key file."""
    keys = json.loads(deployment.settings.key_file.read_text())
    return [*PASSWORDS.values(), *keys["encryption"].values(), *(keys[name] for name in ("identity", "index", "audit"))]


def seen(text, secrets):
    return [secret for secret in secrets if secret in text]


def test_there_are_commands_to_try():
    assert {("check",), ("status",), ("keys", "rotate"), ("db", "upgrade"), ("messages", "list")} <= set(commands())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_whose_database_refuses_it_shows_no_secret(deployment, secrets, postgres_server, words):
    url = f"postgresql+psycopg://nobody:{PASSWORDS['database']}@127.0.0.1:{postgres_server.port}/nothing"

    done = gateway(*words, environment=deployment.environment | {"GATEWAY_DATABASE_URL": url})

    assert seen(done.out + done.err, secrets) == []
    assert words == ("check",) or (done.status in {1, 2} and done.err)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://gateway:{}@127.0.0.1:1/nothing",
        "postgresql://gateway:{}@127.0.0.1:port/nothing",
        "postgresql://127.0.0.1:{}/nothing",
        "mysql://gateway:{}@127.0.0.1/nothing",
        "{}",
    ],
)
def test_a_database_url_that_does_not_work_is_not_shown(deployment, secrets, url):
    wrong = {"GATEWAY_DATABASE_URL": url.format(PASSWORDS["database"])}

    done = gateway("status", environment=deployment.environment | wrong)

    assert (done.status, seen(done.out + done.err, secrets)) == (1, [])


@pytest.mark.parametrize("url", ["amqp://guest:{}@127.0.0.1:port/", "amqp://guest:{}@127.0.0.1/?x=1", "http://{}@h/"])
def test_a_broker_url_that_cannot_be_read_is_not_shown(deployment, secrets, url):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        env=deployment.environment | {"GATEWAY_BROKER_URL": url.format(PASSWORDS["broker"])},
        cwd=deployment.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert (done.returncode, seen(done.stdout + done.stderr, secrets)) == (1, [])
    assert "not an amqp:// or amqps:// address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_whose_broker_refuses_it_shows_no_secret_anywhere(deployment, secrets):
    (member,) = deployment.members.values()
    deployment._spawn(member)
    wait_for(lambda: "the gateway is running" in deployment.log_of(member))
    wait_for(lambda: "rabbitmq is not reachable" in deployment.log_of(member))
    shown = {"arguments": arguments(member.running.pid), "database": str(clear_columns(deployment.store))}
    os.killpg(member.running.pid, signal.SIGTERM)
    member.running.wait(PATIENCE)

    shown["logs"] = deployment.log_of(member)
    assert "serve" in shown["arguments"]
    assert {place: found for place, text in shown.items() if (found := seen(text, secrets))} == {}
