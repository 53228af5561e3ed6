"""The compose file and the image: what an installation starts from."""

from __future__ import annotations

import re

import pytest
import yaml

from gateway.bootstrap.roles import Role
from gateway.settings.pages import settings_page
from tests.deployment import ROOT

OURS = {*map(str, Role), "migrate"}
SERVERS = {"postgres", "rabbitmq"}


@pytest.fixture(scope="module")
def text():
    return (ROOT / "docker-compose.yml").read_text()


@pytest.fixture(scope="module")
def services(text):
    return yaml.safe_load(text)["services"]


@pytest.fixture(scope="module")
def dockerfile():
    return (ROOT / "Dockerfile").read_text()


def test_each_role_is_a_service_of_its_own_beside_the_servers(services):
    assert services.keys() == OURS | SERVERS
    commands = {name: services[name]["command"] for name in map(str, Role)}
    assert commands == {name: ["serve", "--role", name] for name in commands}
    assert services["migrate"]["command"] == ["db", "upgrade"]


def test_every_lasting_service_has_a_health_check(services):
    assert {name for name, one in services.items() if "test" not in one["healthcheck"]} == {"migrate"}


def test_no_role_starts_before_the_database_is_of_its_version_and_the_broker_healthy(services):
    wanted = {"migrate": "service_completed_successfully", "rabbitmq": "service_healthy"}
    for role in Role:
        given = services[role]["depends_on"]
        assert {name: condition["condition"] for name, condition in given.items()} == wanted
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_no_password_has_a_default(text):
    assert set(re.findall(r"\$\{(\w+)[^}]*\}", text)) == {"POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "GATEWAY_KEY_FILE"}
    assert re.findall(r"\$\{\w+(?!:\?)[:}\-]", text) == []
    named = re.findall(r"^\s+\w*(?:PASS|PASSWORD|SECRET)\w*: (.*)$", text, re.MULTILINE)
    assert named
    assert [value for value in named if not value.startswith("${")] == []


def test_the_secrets_of_recipients_reach_the_role_that_needs_them_and_no_other(services):
    assert [name for name, one in services.items() if "env_file" in one] == [str(Role.DELIVER)]


def test_ports_are_published_on_loopback_only(services):
    published = [port for one in services.values() for port in one.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_every_variable_named_is_one_the_gateway_reads(text, dockerfile):
    named = set(re.findall(r"\bGATEWAY_[A-Z_]+\b", text + dockerfile))
    assert named - set(re.findall(r"\bGATEWAY_[A-Z_]+\b", settings_page())) == set()


def test_the_image_installs_hashed_requirements_and_runs_as_nobody_special(dockerfile):
    installs = re.findall(r"pip install .*", dockerfile)
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    assert users
    assert users[-1] not in {"root", "0"}
