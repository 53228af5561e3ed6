"""A resource as a view sees it: released, under the view's own id, with its version and time."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from msgspec import Struct

from gateway.fhir import codec
from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.ports import Shown
from gateway.release.decision import Let
from gateway.release.policy import Rights

Release = Literal["R4", "R5"]

_MARKED: Final = b',"meta":{'


class Seen(Struct, frozen=True, gc=False):
    """A resource as a view sees it. ``id`` is the view's own; ``text`` its JSON; ``last_updated`` UTC.

    ``last_updated`` is when this form could be had first: the time of storing, or of what entitled the view to it.
    ``stored`` is what it was made of, ``view`` who sees it; both stay inside.
    """

    type: str
    id: str
    text: bytes
    last_updated: datetime
    stored: ResourceVersion
    view: View

    @property
    def reference(self) -> str:
        """``Type/id``, the id the view's own."""
        return f"{self.type}/{self.id}"

    @property
    def body(self) -> dict[str, Any]:
        """What ``text`` says, built anew."""
        built: dict[str, Any] = codec.decode(self.text)
        return built

    @property
    def shown(self) -> Shown:
        """What is noted of it when it is shown."""
        return Shown(self.type, self.stored.id, self.stored.version, self.stored.patient, self.view)


def place(rights: Rights, internal: str) -> str:
    """Return what a view's patients, and the resources of a chart, are put in order by: the view's own id."""
    return rights.public_ids((internal,)).get(internal, internal)


def stamped(version: ResourceVersion, let: Let, at: datetime) -> bytes:
    """Return the released form with its version and time (FHIR R4, Resource.meta)."""
    head = len(f'{{"resourceType":"{version.type}","id":"{let.id}"')
    meta = f',"meta":{{"versionId":"{version.version}","lastUpdated":"{instant(at)}"'.encode()
    rest = let.text[head:]
    if rest.startswith(_MARKED):
        return b"%b%b,%b" % (let.text[:head], meta, rest[len(_MARKED) :])
    return b"%b%b}%b" % (let.text[:head], meta, rest)


@lru_cache(maxsize=1024)
def instant(at: datetime) -> str:
    """Return a moment (UTC) as an instant; what one message brought has one."""
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
