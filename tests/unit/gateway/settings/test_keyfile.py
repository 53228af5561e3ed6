"""The key file: rotating its encryption keys, and nothing else in it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gateway.errors import KeysMissing
from gateway.settings import create_keys, read_keys
from gateway.settings.keyfile import (
    SETTLED_AFTER,
    KeyFile,
    activate_key,
    add_key,
    drop_keys,
    is_settled,
    prepared_key,
)


@pytest.fixture
def path(tmp_path):
    create_keys(tmp_path / "keys.json")
    return tmp_path / "keys.json"


def test_a_key_is_added_made_active_and_the_old_one_dropped(path):
    before = read_keys(path)

    name = add_key(path)
    added = read_keys(path)
    active = activate_key(path, name)
    left = drop_keys(path, ["k1"])

    assert (name, added.active, active.active, list(left.encryption)) == ("k2", "k1", "k2", ["k2"])
    assert active.encryption["k1"] == before.encryption["k1"] != active.encryption["k2"]
    assert replace(left, encryption=before.encryption, active="k1") == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["keys.json"]


def test_the_prepared_key_is_the_one_added_after_the_active_one(path):
    assert prepared_key(path) == ""
    add_key(path)
    assert prepared_key(path) == "k2"
    activate_key(path, "k2")
    assert prepared_key(path) == ""


def test_keys_added_at_once_are_all_kept(path):
    with ThreadPoolExecutor(8) as several:
        names = list(several.map(lambda _: add_key(path), range(16)))

    assert sorted(read_keys(path).encryption) == sorted(["k1", *names])


def test_what_a_crash_left_behind_does_not_stop_the_next_change(path):
    (path.parent / ".keys.json.new").write_text("{")

    assert add_key(path) == "k2"


def test_a_key_that_is_not_there_cannot_become_active(path):
    with pytest.raises(KeysMissing, match="names no key"):
        activate_key(path, "k9")

    assert read_keys(path).active == "k1"


def test_a_replaced_file_is_read_once(path):
    file = KeyFile(path)
    file.read()

    assert file.changed() is None
    add_key(path)
    assert list(file.changed().encryption) == ["k1", "k2"]
    assert file.changed() is None


def test_the_file_is_settled_a_minute_after_its_last_change(path):
    assert not is_settled(path)
    then = time.time() - SETTLED_AFTER
    os.utime(path, (then, then))
    assert is_settled(path)


@pytest.mark.parametrize("content", ["[]", '{"encryption": []}', "nonsense"])
def test_what_is_no_key_file_is_not_changed(path, content):
    path.write_text(content)

    with pytest.raises(KeysMissing, match=r"keys\.json"):
        add_key(path)

    assert path.read_text() == content
