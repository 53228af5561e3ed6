"""The configuration folder: what is wrong in it is said with file and line, all at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.cli.base import shipped_config
from gateway.errors import ConfigurationError, KeysMissing
from gateway.settings import create_keys, load, read_keys
from gateway.settings.pages import settings_page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_config(), tmp_path / "config"))


def errors(folder: Path) -> list[str]:
    return [str(error).removeprefix(f"{folder}/") for error in load(folder, {}).errors]


def test_the_shipped_example_has_no_error(folder):
    assert errors(folder) == []


def test_a_misspelt_setting_is_an_error_with_its_line(folder):
    site = folder / "sites" / "ankara.toml"
    site.write_text(site.read_text().replace("decimal_comma = true", "decimal_coma = true"))

    assert errors(folder) == ["sites/ankara.toml:7: decimal_coma: there is no such setting"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("sites/ankara.toml", '"8859/9"', '"latin-77"', "sites/ankara.toml:6: charset: 'latin-77' is no character set"),
        ("sites/ankara.toml", "Ankara children", "Ank\xe0ra children", "sites/ankara.toml:3: is not UTF-8 text"),
        ("codes/ankara.csv", "HEMOGRAM", "HEMOGR\xe0M", "codes/ankara.csv:2: is not UTF-8 text"),
        ("codes/ankara.csv", "HEMOGRAM,", "HEMOGRAM,,,,,,,,,,,,,,", "codes/ankara.csv:2: the row has more columns"),
        (
            "sites/san-celso-ehr.toml",
            "2576",
            "2575",
            "sites/san-celso-lis.toml: feeds: 'lis' has the port of 'adt', 2575",
        ),
        (
            "recipients/edc.toml",
            "kind =",
            "deadline_seconds = 90.0\nkind =",
            "recipients/edc.toml:3: deadline_seconds: two attempts may take as long as [deliver] lease_seconds, 180",
        ),
    ],
)
def test_a_plausible_mistake_is_an_error_that_says_how_to_mend_it(folder, file, old, new, said):
    text = (folder / file).read_text("utf-8")
    assert old in text
    coding = "latin-1" if "\xe0" in new else "utf-8"
    (folder / file).write_bytes(text.replace(old, new, 1).encode(coding, "replace"))

    assert any(error.startswith(said) for error in errors(folder)), errors(folder)


def test_every_error_is_listed_not_only_the_first(folder):
    site = folder / "sites" / "ankara.toml"
    site.write_text(site.read_text().replace('"Europe/Istanbul"', '"Asia/Ankara"').replace('"folder"', '"ftp"'))
    (folder / "recipients" / "edc.toml").write_text("id = 1\n")

    found = errors(folder)

    assert any("sites/ankara.toml:4: zone" in error for error in found)
    assert any("sites/ankara.toml:2" in error and "kind" in error for error in found)
    assert any("recipients/edc.toml:1: id" in error for error in found)


def test_a_recipient_of_an_unknown_study_is_an_error(folder):
    recipient = folder / "recipients" / "registry.toml"
    recipient.write_text(recipient.read_text().replace('["mld", "was"]', '["mld", "no-such-study"]'))

    assert errors(folder) == ["recipients/registry.toml:5: studies: 'no-such-study' is no study of studies/"]


def test_a_code_map_row_names_its_line(folder):
    (folder / "codes" / "ankara.csv").write_text("local_code,ucum,low\nHGB,g/dL,1\nPLT,10*3/uL,few\n")

    assert [error.split(": ")[0] for error in errors(folder)] == ["codes/ankara.csv:3"]


def test_the_environment_has_the_last_word(folder, tmp_path):
    environment = {
        "GATEWAY_DATA": str(tmp_path / "d"),
        "GATEWAY_DATABASE_URL": "postgresql+psycopg://h/db",
        "GATEWAY_BROKER_URL": "amqp://h",
        "GATEWAY_PROBES_PORT": "9100",
        "GATEWAY_HTTP_HOST": "192.0.2.1",
        "GATEWAY_HTTP_PLAIN_REASON": "a test",
    }

    settings = load(folder, environment)

    urls = settings.database_url.get_secret_value(), settings.broker_url.get_secret_value()
    assert urls == ("postgresql+psycopg://h/db", "amqp://h")
    http = settings.gateway.http
    assert (settings.gateway.probes.port, http.host, http.plain_reason) == (9100, "192.0.2.1", "a test")
    assert settings.data == tmp_path / "d"


def test_certificates_are_named_relative_to_the_folder(folder):
    with (folder / "gateway.toml").open("a") as file:
        file.write('[http]\ncertificate = "tls/api.pem"\nkey = "/safe/api.key"\n[broker]\nca_file = "ca.pem"\n')

    gateway = load(folder, {}).gateway

    assert (gateway.http.certificate, gateway.http.key) == (str(folder / "tls/api.pem"), "/safe/api.key")
    assert gateway.broker.ca_file == str(folder / "ca.pem")


def test_without_gateway_toml_nothing_is_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gateway\.toml"):
        load(tmp_path, {})


def test_a_key_file_is_made_once_and_only_for_its_owner(tmp_path):
    path = tmp_path / "keys" / "gateway.json"

    keys = create_keys(path)

    assert read_keys(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_keys(path)


@pytest.mark.parametrize("content", ["", "{}", '{"identity": "eA=="}', '{"encryption": {"k1": "@"}, "active": "k1"}'])
def test_a_broken_key_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)

    with pytest.raises(KeysMissing, match=r"keys\.json"):
        read_keys(path)


def test_the_page_of_settings_is_current():
    assert Path("docs/settings.md").read_text() == settings_page(), "run: python -m gateway.settings.pages"


def test_the_keys_never_show_in_a_representation(tmp_path):
    keys = create_keys(tmp_path / "keys.json")

    assert "active='k1'" in repr(keys)
    assert repr(keys.identity) not in repr(keys)
    assert "identity" not in repr(keys)
