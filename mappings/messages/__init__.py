"""Which messages the gateway translates, and the function that does it.

A message rule takes a ``Message`` and its ``Context``, opens drafts and applies segment maps to them. What is not
listed here is stored and answered, not translated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.hl7v2.message import Message
from mappings.context import Context
from mappings.messages.adt import merge, person, visit
from mappings.messages.crm import registration
from mappings.messages.oru import result
from mappings.trials.cti import link_message

MessageRule = Callable[[Message, Context], None]

RULES: Final[dict[tuple[str, str], MessageRule]] = {
    ("ADT", "A01"): visit,
    ("ADT", "A03"): visit,
    ("ADT", "A04"): visit,
    ("ADT", "A08"): visit,
    ("ADT", "A11"): visit,
    ("ADT", "A28"): person,
    ("ADT", "A31"): person,
    ("ADT", "A40"): merge,
    ("ORU", "R01"): result,
    ("CRM", "C01"): registration,
    ("CRM", "C02"): registration,
    ("CRM", "C03"): registration,
    ("CRM", "C04"): registration,
}
"""(MSH-9.1, MSH-9.2) -> rule."""

EVERYWHERE: Final[tuple[MessageRule, ...]] = (link_message,)
"""Rules for segments that any translated message may carry, run after its own rule."""
