"""What keeps the gateway from starting, said in words that tell how to mend it."""

from __future__ import annotations

import shutil
import socket

import pytest

from tests.command import gateway
from tests.configuration import GATEWAY_TOML, ROOT, clean_environment, write_keys
from tests.servers.ports import free_ports


@pytest.fixture
def config(tmp_path):
    """A configuration outside the demonstration, every port free."""
    made = tmp_path / "config"
    shutil.copytree(ROOT / "fixtures" / "config", made, ignore=shutil.ignore_patterns("data"))
    (made / "gateway.toml").write_text(GATEWAY_TOML.replace("lease_seconds = 20.0", "lease_seconds = 180.0"))
    return made


@pytest.fixture
def environment(config, tmp_path):
    return clean_environment() | {
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_DATA": str(tmp_path / "data"),
        "GATEWAY_KEY_FILE": str(write_keys(tmp_path / "keys.json")),
        "GATEWAY_PROBES_PORT": str(free_ports(1)[0]),
        "REGISTRY_SECRET": "a-secret",
    }


def test_without_a_key_file_it_says_how_to_make_one(environment):
    del environment["GATEWAY_KEY_FILE"]
    done = gateway("serve", environment=environment)
    assert done.status == 1
    assert "gateway keys create" in done.err
    assert "GATEWAY_KEY_FILE" in done.err


def test_a_key_file_that_is_not_there_is_named(environment, tmp_path):
    done = gateway("serve", environment=environment | {"GATEWAY_KEY_FILE": str(tmp_path / "gone.json")})
    assert done.status == 1
    assert "gone.json" in done.err


def test_a_database_that_was_not_upgraded_is_not_touched(environment, postgres_url):
    done = gateway("serve", environment=environment | {"GATEWAY_DATABASE_URL": postgres_url})
    assert done.status == 1
    assert "gateway db upgrade" in done.err


def test_a_database_that_does_not_answer_is_said(environment):
    away = f"postgresql://gateway@127.0.0.1:{free_ports(1)[0]}/gateway"
    done = gateway("serve", environment=environment | {"GATEWAY_DATABASE_URL": away})
    assert done.status == 1
    assert "Traceback" not in done.err
    assert done.err.strip()


def test_a_port_that_is_taken_is_named(environment, config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = gateway("serve", "--role", "relay", environment=environment | {"GATEWAY_PROBES_PORT": str(port)})
        assert done.status == 1
        assert str(port) in done.err
        assert "Traceback" not in done.err
        site = config / "sites" / "san-celso-lis.toml"
        site.write_text(site.read_text().replace("port = 2575", f"port = {port}"))
        done = gateway("serve", "--role", "listen", environment=environment)
        assert done.status == 1
        assert str(port) in done.err
        assert "Traceback" not in done.err


def test_every_error_of_the_configuration_is_told_with_its_line_before_anything_starts(environment, config):
    path = config / "recipients" / "edc.toml"
    path.write_text(path.read_text().replace('identity = "pseudonymous"', 'identity = "anonymous"'))
    checked = gateway("check", environment=environment)
    assert checked.status == 1
    assert f"{path}:{line_of(path, 'anonymous')}: " in checked.err
    assert gateway("serve", environment=environment).status == 1


def test_an_unset_secret_is_named(environment):
    del environment["REGISTRY_SECRET"]
    done = gateway("serve", "--role", "deliver", environment=environment)
    assert done.status == 1
    assert "REGISTRY_SECRET" in done.err


def test_the_shipped_example_keeps_its_data_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gateway("db", "upgrade", environment=clean_environment()).status == 0
    assert (tmp_path / "gateway-data" / "gateway.db").exists()
    assert not (ROOT / "fixtures" / "config" / "data").exists()


def line_of(path, word):
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if word in line)
