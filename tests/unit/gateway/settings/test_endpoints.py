"""Where notifications of subscriptions may go, as the configuration says it."""

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import load


def problems(tmp_path, entries):
    text = f'name = "unit"\n[fhir]\nsubscription_endpoints = {entries}\n'
    (tmp_path / "gateway.toml").write_text(text)
    return [str(one).partition(": ")[2] for one in load(tmp_path, {}).errors]


@pytest.mark.parametrize("entry", ["https://ctms.example/hooks", "http://127.0.0.1:8099/", "https://10.1.2.3/"])
def test_an_endpoint_of_https_or_of_this_machine_is_taken(tmp_path, entry):
    assert not [one for one in problems(tmp_path, [entry]) if "endpoint" in one]


def test_one_without_tls_on_another_machine_is_not(tmp_path):
    [problem] = [one for one in problems(tmp_path, ["http://ctms.example/"]) if "endpoint" in one]
    assert problem == "fhir.subscription_endpoints.0: http:// to another machine: use https://"


@pytest.mark.parametrize(
    "entry", ["ctms.example", "ftp://ctms.example/", "https://u:p@ctms.example/", "https://a/../b"]
)
def test_what_is_no_plain_url_is_not(tmp_path, entry):
    (tmp_path / "gateway.toml").write_text(f'name = "unit"\n[fhir]\nsubscription_endpoints = ["{entry}"]\n')
    with pytest.raises(ConfigurationError, match="plain URL"):
        load(tmp_path, {})
