"""Segment groups (being written)."""

from __future__ import annotations

from gateway.hl7v2.message import Message


def structure_of(message: Message) -> str:
    """Return MSH-9.3, or type and event."""
    return message.msh.value(9, 3) or f"{message.type}_{message.event}".strip("_")
