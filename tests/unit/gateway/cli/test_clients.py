"""``gateway clients`` on an embedded database: alone, and beside the gateway that owns it."""

from __future__ import annotations

import os
import shutil
import threading

import pytest

from gateway.bootstrap.parts import open_store
from gateway.errors import StoreError
from gateway.model.delivery import View
from gateway.services.client_inbox import INBOX, leave_change, take_changes_in
from gateway.services.clients import Change
from gateway.settings import create_keys, load
from tests.certificates import Authority
from tests.command import gateway
from tests.contracts.stores import NOW
from tests.smart import key_set
from tests.story import CONFIG


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "config"
    shutil.copytree(CONFIG, folder, ignore=shutil.ignore_patterns("data"))
    path = folder / "recipients" / "ctms.toml"
    path.write_text("client_secret = true\n" + path.read_text())
    return folder


@pytest.fixture
def environment(tmp_path):
    create_keys(tmp_path / "keys.json")
    return {
        "GATEWAY_DATA": str(tmp_path / "data"),
        "GATEWAY_KEY_FILE": str(tmp_path / "keys.json"),
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
def settings(config, environment):
    found = load(config, environment)
    store = open_store(found)
    store.upgrade()
    store.close()
    return found


@pytest.fixture
def clients(config, environment, settings):
    """Run ``gateway clients``."""
    return lambda *words: gateway("clients", *words, "--config", config, environment=environment)


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(key_set(("ES384", "k1")))
    return file


@pytest.fixture
def other_keys(tmp_path):
    file = tmp_path / "other.json"
    file.write_text(key_set(("RS384", "k2")))
    return file


@pytest.fixture
def owner(settings):
    """A gateway that owns the database."""
    store = open_store(settings)
    ends = threading.Event()
    thread = threading.Thread(target=take_changes_in, args=(store, settings.data / INBOX, ends.is_set))
    thread.start()
    yield store
    ends.set()
    thread.join()
    store.close()


ADD = ("add", "edc-north", "--view", "edc", "--scope", "system/*.rs")
NARROW = "system/Observation.rs?code=http://loinc.org|718-7 system/*.s?_lastUpdated=ge2026 system/Patient.r"


def listed(clients):
    return {record["client"]: record for record in clients("list", "--json").records}


def audited(settings):
    store = open_store(settings, read_only=True)
    with store.begin(write=False) as tx:
        lines = [(line.action, line.subject, line.detail) for line in tx.audit.find()]
    store.close()
    return lines


def test_a_client_is_added_listed_rotated_and_revoked(clients, keys, other_keys, settings):
    added = clients(*ADD, "--jwks-file", keys, "--writes", "--per-minute", 60)

    assert (added.status, added.out) == (0, "client edc-north is added\n")
    record = listed(clients)["edc-north"]
    assert (record["state"], record["shows"], record["keys"]) == ("active", "key set", "k1")
    assert record["views"].split() == [f"edc/{study}" for study in settings.recipients["edc"].studies]
    assert (record["scopes"], record["writes"], record["audits"]) == ("system/*.rs", True, False)
    assert record["per_minute"] == 60

    rotated = clients("rotate", "edc-north", "--jwks-file", other_keys, "--grace", 24)
    assert rotated.status == 0
    assert "the old one is good until" in rotated.out
    assert (listed(clients)["edc-north"]["state"], listed(clients)["edc-north"]["keys"]) == ("rotating", "k2")

    assert clients("revoke", "edc-north").out == "client edc-north is revoked; its tokens are no longer good\n"
    assert listed(clients)["edc-north"]["state"] == "revoked"
    assert [line[:2] for line in audited(settings)] == [
        ("client-revoked", "client/edc-north"),
        ("client-rotated", "client/edc-north"),
        ("client-added", "client/edc-north"),
    ]
    assert audited(settings)[-1][2].startswith("key set; edc/")


def test_a_secret_is_shown_once_and_kept_nowhere(clients, settings):
    added = clients("add", "ctms", "--view", "ctms/mld", "--scope", "system/*.read", "--secret", "--json")

    (record,) = added.records
    assert len(record["secret"]) >= 43
    assert record["secret"] not in clients("list", "--json").out
    rows = b"".join(file.read_bytes() for file in settings.data.iterdir() if file.is_file())
    assert record["secret"].encode() not in rows
    assert record["secret"] not in str(audited(settings))
    again = clients("rotate", "ctms", "--secret")
    assert again.out.splitlines()[1].startswith("its secret, which is shown this once: ")


def test_beside_a_running_gateway_a_change_holds_when_the_command_ends(clients, keys, other_keys, owner, settings):
    assert clients(*ADD, "--jwks-file", keys).out == "client edc-north is added\n"
    with owner.begin(write=False) as tx:
        assert View("edc", "mld") in tx.clients.get("edc-north").views
    assert clients("rotate", "edc-north", "--jwks-file", other_keys).status == 0
    assert clients("revoke", "edc-north").status == 0
    with owner.begin(write=False) as tx:
        assert tx.clients.get("edc-north").revoked_at is not None

    refused = clients(*ADD, "--jwks-file", keys)
    assert (refused.status, refused.out) == (1, "")
    assert "there is one of that name, or was" in refused.err
    assert listed(clients)["edc-north"]["state"] == "revoked"
    assert list((settings.data / INBOX).iterdir()) == []
    assert (settings.data / INBOX).stat().st_mode & 0o077 == 0


def test_a_change_that_nobody_takes_in_is_withdrawn(settings):
    inbox = settings.data / INBOX

    with pytest.raises(StoreError, match="nothing is changed"):
        leave_change(inbox, Change(NOW, "an operator", revoke="edc-north"), patience=0.05)
    assert list(inbox.iterdir()) == []


def test_what_cannot_be_read_in_the_folder_is_refused_and_stops_nothing(clients, keys, owner, settings):
    inbox = settings.data / INBOX
    inbox.mkdir(exist_ok=True)
    (inbox / "0.json").write_text("{}")

    assert clients(*ADD, "--jwks-file", keys).status == 0
    assert "cannot be read" in (inbox / "0.done").read_text()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--view", "nobody", "--scope", "system/*.rs"), 1, "no recipient 'nobody'; there are: "),
        (("--view", "edc/none", "--scope", "system/*.rs"), 1, "edc has no study 'none'"),
        (("--view", "edc", "--scope", "patient/*.rs"), 2, "write system/TYPE.cruds"),
        (("--view", "edc", "--scope", " "), 2, "write system/TYPE.cruds"),
        (("--view", "edc", "--scope", "system/Observations.rs"), 1, "Observations is not served"),
        (("--view", "edc", "--scope", "system/Observation.rs?kode=718-7"), 1, "kode is no search parameter"),
        (("--view", "edc", "--scope", "system/*.rs?category=laboratory"), 1, "category is no search parameter"),
    ],
)
def test_a_view_or_scope_that_is_none_is_refused(clients, keys, words, status, said):
    refused = clients("add", "edc-north", *words, "--jwks-file", keys)

    assert refused.status == status
    assert said in " ".join(refused.err.replace("│", " ").split())
    assert listed(clients) == {}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "name one of --jwks-url"),
        (("--secret", "--jwks-url", "https://edc.example/jwks"), 2, "name one of --jwks-url"),
        (("--secret",), 1, "edc.toml: a secret is for recipients that say client_secret = true"),
        (("--jwks-url", "http://edc.example/jwks"), 1, "fetched over https alone"),
        (("--jwks-url", "https://[edc.example/jwks"), 1, "fetched over https alone"),
        (("--jwks-url", "https://me:word@edc.example/jwks"), 1, "fetched over https alone"),
        (("--jwks-file", "/nothing/here.json"), 1, "here.json: cannot be read"),
        (("--jwks-file", "pyproject.toml"), 1, "pyproject.toml: the key set is not JSON"),
    ],
)
def test_what_a_client_shows_must_be_good_for_something(clients, words, status, said):
    refused = clients(*ADD, *words)

    assert refused.status == status
    assert said in " ".join(refused.err.replace("│", " ").split())
    assert listed(clients) == {}


def test_scopes_may_be_narrowed_by_searches(clients, keys):
    clients("add", "edc-north", "--view", "edc", "--scope", NARROW, "--jwks-file", keys)

    assert listed(clients)["edc-north"]["scopes"] == NARROW


def test_a_name_is_written_like_every_id(clients, keys):
    assert clients("add", "Edc North", *ADD[2:], "--jwks-file", keys).status == 2


def test_there_must_be_a_client_to_rotate_or_revoke(clients, keys):
    clients(*ADD, "--jwks-file", keys)

    assert "client ctms: there is none of that name" in clients("rotate", "ctms", "--jwks-file", keys).err
    assert "there are: edc-north" in clients("revoke", "ctms").err


def test_a_certificate_is_bound_to_where_the_gateway_can_see_it(clients, keys, config, tmp_path):
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("edc.example")
    words = (*ADD, "--jwks-file", keys, "--certificate", certificate)

    assert "[http] client_ca" in clients(*words).err
    toml = config / "gateway.toml"
    toml.write_text(f'{toml.read_text()}\n[http]\ncertificate = "a.pem"\nkey = "a.key"\nclient_ca = "ca.pem"\n')
    assert clients(*words).status == 0
    assert listed(clients)["edc-north"]["certificates"] == 1
    assert "holds no certificate" in clients(*words[:-1], keys).err
