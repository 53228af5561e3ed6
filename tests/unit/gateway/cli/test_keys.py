"""``gateway keys`` on an embedded database: what an operator sees when keys rotate."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import structlog

from gateway.bootstrap.parts import open_store
from gateway.settings import create_keys, load, read_keys
from tests.command import gateway
from tests.contracts.stores import incoming
from tests.story import CONFIG


@pytest.fixture
def environment(tmp_path):
    create_keys(tmp_path / "keys.json")
    return {"GATEWAY_DATA": str(tmp_path), "GATEWAY_KEY_FILE": str(tmp_path / "keys.json"), "PATH": os.environ["PATH"]}


@pytest.fixture
def settings(environment):
    return load(CONFIG, environment)


@pytest.fixture
def keys(environment, settings):
    """Run ``gateway keys`` beside a database that holds two messages."""
    store = open_store(settings)
    store.upgrade()
    store.receive([incoming("M1"), incoming("M2")])
    store.close()
    return lambda *words: gateway("keys", *words, "--config", CONFIG, environment=environment)


def listed(keys):
    return {record["key"]: (record["state"], record["rows"]) for record in keys("list", "--json").records}


def minutes_ago(path):
    os.utime(path, (0, 0))


def test_keys_are_listed_rotated_and_dropped(keys, settings):
    assert listed(keys) == {"k1": ("active", 2)}

    rotated = keys("rotate")

    assert rotated.status == 0
    assert "2 rows encrypted anew; key k2 is active" in rotated.out
    assert "gateway keys drop k1" in rotated.out
    assert listed(keys) == {"k1": ("old", 0), "k2": ("active", 2)}
    assert "try again in a minute" in keys("drop", "k1").err
    minutes_ago(settings.key_file)
    assert keys("drop", "k1").status == 0
    assert listed(keys) == {"k2": ("active", 2)}


def test_a_prepared_key_becomes_the_active_one(keys):
    assert "k2 is prepared" in keys("rotate", "--prepare").out
    assert listed(keys) == {"k1": ("active", 2), "k2": ("prepared", 0)}
    assert "key k2 is active" in keys("rotate").out
    assert list(listed(keys)) == ["k1", "k2"]


def test_a_key_that_is_used_active_or_unknown_is_not_dropped(keys, settings):
    keys("rotate")
    minutes_ago(settings.key_file)
    active = keys("drop", "k2")
    unknown = keys("drop", "k7")
    store = open_store(settings, replace(read_keys(settings.key_file), active="k1"))  # has not noticed yet
    store.receive([incoming("LATE")])
    store.close()
    used = keys("drop", "k1")

    assert [done.status for done in (active, unknown, used)] == [1, 1, 1]
    assert "active one" in active.err
    assert "there are: k1, k2" in unknown.err
    assert "in use by 1 rows: gateway keys rotate --resume" in used.err
    assert keys("rotate", "--resume").status == 0
    assert listed(keys) == {"k1": ("old", 0), "k2": ("active", 3)}


def test_rotating_waits_for_nobody_it_says_who_owns_an_embedded_database(keys, settings):
    before = read_keys(settings.key_file)
    running = open_store(settings)

    refused = keys("rotate")

    running.close()
    assert refused.status == 1
    assert "has the database file open" in refused.err
    assert read_keys(settings.key_file) == before


def test_a_key_file_that_is_not_the_newest_is_not_rotated(keys, settings):
    old = settings.key_file.read_bytes()
    keys("rotate")
    settings.key_file.write_bytes(old)

    refused = keys("rotate")

    assert refused.status == 1
    assert "2 rows are encrypted under key k2, which it does not hold" in refused.err
    assert settings.key_file.read_bytes() == old


def test_a_key_file_that_others_may_read_is_an_error_of_check(keys, settings, environment):
    sound = gateway("check", "--config", CONFIG, environment=environment)
    settings.key_file.chmod(0o640)
    open_to_others = gateway("check", "--config", CONFIG, environment=environment)
    with structlog.testing.capture_logs() as lines:
        assert keys("list").status == 0

    assert (sound.status, open_to_others.status) == (0, 1)
    assert f"{settings.key_file}: others than its owner may read it" in open_to_others.err
    assert [line["file"] for line in lines if "chmod 600" in line["event"]] == [str(settings.key_file)]
