"""A recipient as its file in ``recipients/*.toml`` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from gateway.model.study import ON_STUDY

Identity = Literal["identified", "pseudonymous"]


@dataclass(frozen=True, slots=True)
class ReleaseRule:
    """What a recipient may receive of one resource type (default deny).

    ``elements``: dotted element paths as FHIR writes them without indexes (``code.coding``, ``valueQuantity``,
    ``code.text``); a path lets its whole subtree out, except what the identity forbids unless it is named itself.
    ``codes``: ``system|code`` an Observation or DiagnosticReport must carry; empty: every code.
    """

    elements: tuple[str, ...]
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try again: exponential from ``first`` to ``longest``, with jitter, until ``give_up`` has passed."""

    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(hours=1)
    give_up: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A trial system that receives.

    ``address``: URL of a FHIR server or webhook; ignored for amqp and for one that only pulls (FHIR API).
    ``secret_env``: name of the environment variable that holds the webhook's HMAC key or the bearer token
    (``secret_file`` likewise a path). ``purpose``: a subject's active consent must cover it (v3-ActReason).
    ``delivery``: ``newest`` or ``every-version``.
    ``retraction``: ``mark`` (entered-in-error) or ``delete``. ``keep``: how long an amqp event waits for its receipt
    before it is no longer published again. ``look_back``: data older than the consent by at most this is released.
    ``timeout``: seconds each wait on the network may take; ``deadline``: seconds an attempt may take in all.
    """

    id: str
    kind: Literal["fhir_server", "webhook", "amqp", "pull"]
    studies: tuple[str, ...]
    release: Mapping[str, ReleaseRule]
    identity: Identity = "pseudonymous"
    address: str = ""
    fhir_version: Literal["R4", "R5"] = "R4"
    blinded: bool = False
    purpose: str = "CLINTRCH"
    statuses: tuple[str, ...] = ON_STUDY
    look_back: timedelta = timedelta(0)
    delivery: Literal["newest", "every-version"] = "newest"
    retraction: Literal["mark", "delete"] = "mark"
    secret_env: str = ""
    secret_file: str = ""
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    timeout: float = 10.0
    deadline: float = 60.0
    max_bytes: int = 64 * 1024 * 1024
    keep: timedelta = timedelta(days=7)
    batch: int = 500
    retry: Retry = field(default_factory=Retry)
    search_by_identifier: bool = False
    """fhir_server: conditional updates (``PUT Type?identifier=…``) instead of ``PUT Type/id``."""
    client_secret: bool = False
    """Clients of its views may have a secret instead of a key pair."""

    @property
    def receives(self) -> bool:
        """Whether anything is delivered to it; one that does not asks for itself."""
        return self.kind != "pull"
