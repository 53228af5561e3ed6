"""What is ordered of a bulk export, and by what right a part of it was written."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct, msgpack

from gateway.model.access import Caller, Scope, scope_of
from gateway.model.delivery import View
from gateway.ports import Export
from gateway.release.consent import Entitlement
from gateway.services.seen import Release


class Order(Struct, frozen=True, array_like=True):
    """What is to be exported. ``views`` and ``scopes`` are the client's when it asked; ``at`` is the transactionTime.

    ``shared``: what belongs to nobody (studies, organizations) too. ``filters``: ``Type?query``. ``elements``: as
    ``_elements`` names them. ``ignored``: the names of parameters that were left out (``handling=lenient``).
    """

    request: str
    base: str
    release: Release
    views: tuple[tuple[str, str], ...]
    scopes: tuple[str, ...]
    types: tuple[str, ...]
    at: datetime
    shared: bool = True
    since: datetime | None = None
    elements: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def caller(self, client: str) -> Caller:
        """Return who ordered it."""
        return Caller(client, tuple(View(*view) for view in self.views), self.scopes_of("*"))

    def scopes_of(self, type: str) -> tuple[Scope, ...]:
        """Return the scopes that it was ordered with, those that speak of a type (``*``: all)."""
        found = (scope_of(text) for text in self.scopes)
        return tuple(one for one in found if one is not None and (type in ("*", one.type) or one.type == "*"))


_ORDERS: Final = msgpack.Decoder(Order)


def order_of(export: Export) -> Order:
    """Return what was ordered."""
    return _ORDERS.decode(export.asked)


class Right(Struct, frozen=True, array_like=True):
    """By what right a part was written. ``digest``: of the recipient's file; ``patient`` ``""``: of nobody.

    ``recipient`` ``""``: it says nothing of what is stored.
    """

    recipient: str = ""
    study: str = ""
    digest: str = ""
    patient: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def view(self) -> View:
        """The view that may see it."""
        return View(self.recipient, self.study)

    @property
    def entitlement(self) -> Entitlement:
        """The time that its data lay in."""
        return Entitlement(self.since, self.until)


_RIGHTS: Final = msgpack.Decoder(Right)


def right_of(about: bytes) -> Right:
    """Return by what right a part was written, from what it says of itself."""
    return _RIGHTS.decode(about)
