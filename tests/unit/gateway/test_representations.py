"""No object of ours shows a secret when it is printed, logged, or stands in a traceback."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re

from gateway.model.keys import Keys

SECRET = re.compile(r"(^|_)(password|passphrase|secret|token|bearer|credentials?)$")


def dataclasses_of_ours():
    for package in ("gateway", "adapters"):
        for module in pkgutil.walk_packages([package], f"{package}."):
            if module.name.endswith("__main__") or ".migrations." in module.name:
                continue
            for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if one.__module__ == module.name and dataclasses.is_dataclass(one):
                    yield one


def test_no_dataclass_shows_a_secret():
    found = list(dataclasses_of_ours())
    shown = {
        (one.__name__, field.name)
        for one in found
        for field in dataclasses.fields(one)
        if field.repr and field.type != "bool"
    }

    assert Keys in found
    assert {pair for pair in shown if SECRET.search(pair[1]) or pair[0] == "Keys"} == {("Keys", "active")}
