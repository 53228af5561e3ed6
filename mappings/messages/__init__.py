"""Which messages the gateway translates, and the function that does it.

A message rule takes a ``Message`` and its ``Context``, opens drafts and applies segment maps to them. What is not
listed here is stored and answered, not translated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.hl7v2.message import Message
from mappings.context import Context
from mappings.messages import adt

MessageRule = Callable[[Message, Context], None]

RULES: Final[dict[tuple[str, str], MessageRule]] = {
    ("ADT", "A01"): adt.visit,
    ("ADT", "A03"): adt.visit,
    ("ADT", "A04"): adt.visit,
    ("ADT", "A08"): adt.visit,
    ("ADT", "A11"): adt.visit,
    ("ADT", "A28"): adt.person,
    ("ADT", "A31"): adt.person,
    ("ADT", "A40"): adt.merge,
}
"""(MSH-9.1, MSH-9.2) -> rule."""

EVERYWHERE: Final[tuple[MessageRule, ...]] = ()
"""Rules for segments that any translated message may carry, run after its own rule."""
