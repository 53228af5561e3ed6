"""Resources that are not stored but made when they are asked for, beside those that are.

Our own terminology, the topics, a client's own subscriptions, the Group of a study: few of each, and no patient's data.
They are read, searched, sorted and paged as what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from gateway.fhir import codec
from gateway.ports import Shown
from gateway.services.pull import Pull
from gateway.services.seen import Seen

Source = Callable[[Pull], Iterable[dict[str, Any]]]
"""Makes the resources of one type for a caller, in the release asked for: each with its id and meta."""


class Made(Struct, frozen=True, gc=False):
    """A resource that was made: what ``Seen`` is of a stored one."""

    body: dict[str, Any]

    @property
    def type(self) -> str:
        """The resource type."""
        return str(self.body["resourceType"])

    @property
    def id(self) -> str:
        """The id."""
        return str(self.body["id"])

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.type}/{self.id}"

    @property
    def text(self) -> bytes:
        """Its JSON."""
        return codec.encode(self.body)

    @property
    def last_updated(self) -> datetime | None:
        """When this form could be had first (UTC), None: that is not known."""
        moment = self.body["meta"].get("lastUpdated")
        return None if moment is None else datetime.fromisoformat(moment)


Form = Seen | Made
"""A resource as a client sees it."""


def version_of(form: Form) -> str:
    """Return its ``meta.versionId``."""
    return str(form.body["meta"]["versionId"]) if isinstance(form, Made) else str(form.stored.version)


def shown_of(forms: Iterable[Form]) -> tuple[Shown, ...]:
    """Return what is noted of resources that are shown: of those that are made nothing, as they are no patient's."""
    return tuple(form.shown for form in forms if isinstance(form, Seen))
