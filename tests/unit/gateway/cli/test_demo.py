"""What the demo says of itself."""

from __future__ import annotations

import pytest

from gateway.cli.demo import Demo
from gateway.settings import load
from tests.configuration import ROOT, write_keys


@pytest.mark.parametrize(("kept", "said"), [(True, "its data stays where it is"), (False, "its data is then gone")])
def test_it_says_whether_its_data_stays(tmp_path, monkeypatch, capsys, kept, said):
    environment = {"GATEWAY_KEY_FILE": str(write_keys(tmp_path / "keys.json"))}
    environment |= {"GATEWAY_DATA": str(tmp_path / "unit")} if kept else {}
    monkeypatch.delenv("GATEWAY_DATA", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    demo = Demo(load(ROOT / "fixtures" / "config", environment))
    try:
        demo.write_addresses()
    finally:
        demo.close()
    assert said in capsys.readouterr().out
    assert (tmp_path / "unit").exists() == kept
