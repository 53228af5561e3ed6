"""A subscription that was taken away is gone for its own client; another is told what it was told before."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from gateway.model.access import Caller, Scope
from tests.asking import Api
from tests.releasing import EVERYTHING, recipient, world
from tests.subscribing import r4

ALL = (Scope("*", "cruds"),)


@pytest.fixture
def api():
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), recipient(release=EVERYTHING)) as made:
        asked = Api(made.store, made.policy, *(Caller(name, made.policy.views, ALL) for name in ("own", "other")))
        yield asked
        asked.close()


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_a_deleted_subscription_is_gone_for_its_own_client(api, release):
    made = api.ask("own", "POST", "r4/Subscription", body=json.dumps(r4()).encode())
    assert made.status == 201, made.content
    path = f"{release}/Subscription/{made.body['id']}"
    assert api.get("own", path).status == 200
    assert api.ask("other", "DELETE", path).status == 204
    assert api.get("own", path).status == 200
    assert api.ask("own", "DELETE", path).status == 204
    for asked in (path, f"{path}/$status", f"{path}/$events"):
        assert api.get("own", asked).issue == (410, "deleted")
        assert api.get("other", asked).issue == (404, "not-found")
    assert api.get("own", f"{release}/Subscription").resources() == []
