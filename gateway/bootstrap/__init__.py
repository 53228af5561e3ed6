"""Reads settings and builds everything: the only package that knows all the others.

``parts`` builds single things (store, broker, translator) for the commands; ``roles`` builds and runs the roles of
``gateway serve``. Imports are made where they are needed, so that a role loads only what it runs.
"""

from gateway.bootstrap.keys import drop_unused, key_lines, prepare_key, rotate
from gateway.bootstrap.operator import Replayer, explanation_of, map_gap, status_of
from gateway.bootstrap.parts import (
    keys_of,
    open_broker,
    open_store,
    policy_problems,
    preview_translator,
    translator_factory,
)

__all__ = [
    "Replayer",
    "drop_unused",
    "explanation_of",
    "key_lines",
    "keys_of",
    "map_gap",
    "open_broker",
    "open_store",
    "policy_problems",
    "prepare_key",
    "preview_translator",
    "rotate",
    "status_of",
    "translator_factory",
]
