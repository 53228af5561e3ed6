"""What would go over the network in clear is refused, with its line, unless the configuration says why."""

from __future__ import annotations

import re
import shutil

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import load
from tests.story import CONFIG

HERE = {"GATEWAY_DATABASE_URL": "postgresql+psycopg://gateway:Sesame1@127.0.0.1/db", "GATEWAY_BROKER_URL": "amqp://::1"}


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("data"))
    return tmp_path / "config"


def errors(folder, **environment):
    return [str(error).removeprefix(f"{folder}/") for error in load(folder, environment).errors]


def edit(path, pattern, replacement):
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.M)
    assert count
    path.write_text(text)


def test_a_feed_that_other_machines_reach_needs_tls_or_a_reason(folder):
    path = folder / "sites" / "san-celso-lis.toml"
    edit(path, r"^port = (\d+)$", r'port = \1\nhost = "0.0.0.0"')
    line = path.read_text().splitlines().index('host = "0.0.0.0"') + 1

    (refused,) = errors(folder)
    edit(path, r"^host = .*$", r'\g<0>\nplain_reason = "a cable of our own"')

    assert refused.startswith(f"sites/san-celso-lis.toml:{line}: feeds: feed 'lis' on 0.0.0.0")
    assert errors(folder) == []


def test_a_recipient_on_another_machine_is_spoken_to_over_https(folder):
    path = folder / "recipients" / "edc.toml"
    edit(path, r"^address = .*$", 'address = "http://edc.example/fhir"')
    (refused,) = errors(folder)
    edit(path, "http://", "https://")

    assert re.match(r"recipients/edc\.toml:\d+: address: http:// to another machine", refused)
    assert errors(folder) == []


def test_a_password_in_an_address_is_refused_and_not_shown(folder):
    edit(folder / "recipients" / "edc.toml", r"^address = .*$", 'address = "https://gateway:Sesame1@edc.example/fhir"')

    (refused,) = errors(folder)

    assert "address: holds a password" in refused
    assert "Sesame1" not in refused


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"GATEWAY_HTTP_HOST": "0.0.0.0"}, "http.host: 0.0.0.0 is reached from other machines"),
        ({"GATEWAY_HTTP_HOST": "0.0.0.0", "GATEWAY_HTTP_PLAIN_REASON": "behind a proxy"}, ""),
        (
            {"GATEWAY_PROBES_HOST": "::", "GATEWAY_PROBES_PORT": "9100"},
            "probes.host: :: is reached from other machines",
        ),
        ({"GATEWAY_PROBES_HOST": "::"}, ""),
        (HERE, ""),
        ({"GATEWAY_DATABASE_URL": "postgresql+psycopg://gateway:Sesame1@db/db"}, "database_url: the database is on"),
        ({"GATEWAY_DATABASE_URL": "postgresql+psycopg://gateway:Sesame1@db/db?sslmode=require"}, ""),
        ({"GATEWAY_DATABASE_URL": "postgresql+psycopg:///db?host=/run/postgresql"}, ""),
        ({"GATEWAY_DATABASE_URL": "postgresql://gateway:Sesame1@/db?host=db.example"}, "database_url: the database is"),
        ({"GATEWAY_BROKER_URL": "amqp://gateway:Sesame1@broker"}, "broker_url: the broker is on another machine"),
        ({"GATEWAY_BROKER_URL": "amqps://gateway:Sesame1@broker"}, ""),
        ({"GATEWAY_BROKER_URL": "amqp://broker", "GATEWAY_BROKER_PLAIN_REASON": "one rack"}, ""),
    ],
)
def test_what_the_environment_names_needs_tls_or_a_reason_too(folder, environment, refused):
    found = errors(folder, **environment)

    assert len(found) == bool(refused)
    assert refused in "".join(found)
    assert "Sesame1" not in "".join(found)


def test_settings_show_no_password(folder):
    settings = load(folder, HERE)

    assert "Sesame1" in settings.database_url.get_secret_value()
    assert "Sesame1" not in f"{settings!r} {settings.database_url}"


@pytest.mark.parametrize(
    ("table", "refused"),
    [
        ('[fhir]\nbase_url = "http://gateway.example"', r"fhir\.base_url: http:// from another machine"),
        ('[fhir]\nbase_url = "https://me:Sesame1@gateway.example"', r"fhir\.base_url: is not a URL without a name"),
        ('[fhir]\nbase_url = "https://gateway.example/"', r"fhir\.base_url: String should match"),
        ('[fhir]\nprivate_networks = ["10.1.0.1/16"]', r"fhir\.private_networks\.0: '10\.1\.0\.1/16' is no network"),
        ('[fhir]\nbase_url = "https://gateway.example/api"\nprivate_networks = ["10.1.0.0/16"]', ""),
        ('[fhir]\nbase_url = "http://127.0.0.1:8080"', ""),
        ('[http]\nclient_ca = "clients.pem"', r"http\.client_ca: certificates are shown over TLS alone"),
    ],
)
def test_where_clients_of_the_fhir_api_are_told_to_reach_it_is_checked(folder, table, refused):
    path = folder / "gateway.toml"
    path.write_text(f"{path.read_text()}\n{table}\n")

    try:
        found = errors(folder)
    except ConfigurationError as error:
        found = [str(error).removeprefix(f"{folder}/")]

    assert len(found) == bool(refused)
    assert all(re.match(rf"gateway\.toml:\d+: {refused}", line) for line in found)
    assert "Sesame1" not in "".join(found)
