"""Exports of a small world (``tests.releasing``): ordering one, writing it, reading its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from gateway.model.access import Caller, scopes_of
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.export import ExportDesk, ExportLimits
from gateway.services.export_order import Order
from gateway.services.exporting import Exporter
from gateway.services.pull import Sight
from tests.releasing import World

BASE = "http://gateway.example/fhir/r4"


@dataclass
class Exports:
    """A desk, who writes, and a client of every view of a world."""

    world: World
    scopes: str = "system/*.rs"
    limits: ExportLimits | None = None

    @property
    def sight(self) -> Sight:
        return Sight(self.world.policy, Enrolments(self.world.policy), Concerns())

    @property
    def desk(self) -> ExportDesk:
        return ExportDesk(self.world.store, self.sight, lambda: self.world.now, self.limits)

    @property
    def caller(self) -> Caller:
        return Caller("edc", self.world.policy.views, scopes_of(self.scopes))

    def exporter(self, owner: str = "writer") -> Exporter:
        return Exporter(self.world.store, self.sight, lambda: self.world.now, owner)

    def order(self, **changes: Any) -> Order:
        views = tuple((view.recipient, view.study) for view in self.world.policy.views)
        types = {kind for view in self.world.policy.views for kind in self.world.policy.rights(view).types}
        whole = Order(f"{BASE}/$export", BASE, "R4", views, (self.scopes,), tuple(sorted(types)), self.world.now)
        return replace(whole, **changes)

    def begin(self, **changes: Any) -> str:
        return self.desk.begin(self.order(**changes), "edc")

    def write(self, exporter: Exporter | None = None) -> None:
        exporter = exporter or self.exporter()
        while exporter.step():
            pass

    def written(self, **changes: Any) -> dict[str, list[dict[str, Any]]]:
        """Order and write an export; return what its files hold, by type."""
        id = self.begin(**changes)
        self.write()
        return self.read(id)

    def read(self, id: str, caller: Caller | None = None) -> dict[str, list[dict[str, Any]]]:
        """What may be seen now of a finished export's files, by type."""
        desk, caller = self.desk, caller or self.caller
        export = desk.get(id, "edc")
        assert export.state == "done", export.detail
        found: dict[str, list[dict[str, Any]]] = {}
        for file in desk.files(export, caller):
            _, pieces = desk.fetch(export, file.number, caller)
            lines = b"".join(text for piece in pieces for text in piece.lines).splitlines()
            assert len(lines) == file.count
            found.setdefault(file.type, []).extend(json.loads(line) for line in lines)
        return found


def kinds(found: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """How many there are of each type."""
    return {type: len(resources) for type, resources in found.items()}
