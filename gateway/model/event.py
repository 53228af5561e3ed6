"""How an event of an amqp recipient is named, so that a receiver can drop repeats and tell the newer of two.

Everything a header says can be read from the routing key and the message id, so an event that is published again after
a loss says the same as the first time.
"""

from __future__ import annotations

from hashlib import blake2b

from gateway.model.delivery import ChangeKind, Package, Released


def routing_key(package: Package, released: Released) -> str:
    """Return ``<recipient>.<study>.<ResourceType>.<change>``."""
    return f"{package.view.recipient}.{package.view.study}.{released.type}.{released.kind}"


def message_id(package: Package, released: Released, body: bytes) -> str:
    """Return ``<digest>.<version>.<sequence>``.

    It is the same for every attempt at the same delivery, though what was ``created`` may be called ``updated`` then;
    a replay is another delivery. ``sequence`` is the delivery's number, ascending for a view and patient.
    """
    gone = "retracted" if released.kind is ChangeKind.RETRACTED else ""
    named = (package.view.recipient, package.view.study, package.delivery_id, released.reference, gone)
    digest = blake2b("\x1f".join(named).encode() + b"\x1f" + body, digest_size=16).hexdigest()
    return f"{digest}.{released.version}.{package.delivery_id.rpartition('-')[2]}"


def headers(routing_key: str, message_id: str) -> dict[str, str]:
    """Return the headers of an event.

    >>> headers("edc.mld-01.Observation.updated", "5e0f.3.12")
    {'study': 'mld-01', 'change': 'updated', 'version': '3', 'sequence': '12'}
    """
    words = routing_key.split(".")
    _, version, sequence = message_id.split(".")
    return {"study": words[1], "change": words[3], "version": version, "sequence": sequence}
