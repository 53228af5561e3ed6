"""The configuration folder and the environment, read once, validated, and never global.

``load`` reads everything; what it returns is plain data for ``gateway.bootstrap`` to build from. Each file's shape is
a model in ``gateway.settings.files``; ``docs/settings.md`` is made from those.
"""

from gateway.settings.folder import Settings, load
from gateway.settings.keyfile import create_keys, read_keys

__all__ = ["Settings", "create_keys", "load", "read_keys"]
