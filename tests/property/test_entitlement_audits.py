"""An AuditEvent names nothing that its reader does not see, whoever was shown what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.access import Caller
from tests.seeing import EVERYTHING, Scene, scene

seeds = st.integers(0, 2**32 - 1)
ASKED = ("Patient", "Observation", "ResearchSubject", "Organization", "Observation?_include=*", "Patient/nobody")


@given(seeds)
@settings(max_examples=12)
def test_an_audit_event_names_what_its_reader_sees_alone(seed):
    with scene(seed) as made:
        made.api.callers.known["wide"] = replace(made.api.callers.known["wide"], audits=True)
        clients = ["wide"]
        for number, view in enumerate(made.api.policy.views):
            clients.append(f"client{number}")
            made.api.callers.known[clients[-1]] = Caller(clients[-1], (view,), EVERYTHING)
        for client in clients:
            for path in ASKED:
                made.api.get(client, f"r4/{path}")
        with made.api.store.begin() as tx:
            tx.answers.add(made.api.noted)
        seen = {f"{type}/{id}" for type, id in made.known()}
        for release in ("r4", "r5"):
            events = _events(made, release)
            own = [event for event in events if _client(event) == "wide"]
            assert len(own) == len(ASKED)
            for event in events:
                named = {entity["what"]["reference"] for entity in event["entity"] if "what" in entity}
                assert named <= seen
                assert any("query" in entity for entity in event["entity"]) == (_client(event) == "wide")


def _events(made: Scene, release: str) -> list[dict[str, Any]]:
    """The events on all pages; each page is looked through for what is not the reader's."""
    page = made.get("wide", f"{release}/AuditEvent", "_count=4")
    events = page.resources()
    while page.following:
        page = made.heard(made.api.get("wide", page.following), "AuditEvent")
        events += page.resources()
    return events


def _client(event: dict[str, Any]) -> str:
    return str(event["agent"][0]["who"]["identifier"]["value"])
