"""Compression of answers, for clients that accept it (RFC 9110, 8.4.1)."""

from __future__ import annotations

from typing import Final

from isal import isal_zlib

PAYS_FROM: Final = 1024
"""Bytes from which packing saves enough to be worth its time."""

GZIP: Final = 31
"""The window bits that stand for the format gzip."""


def takes_gzip(accepted: str) -> bool:
    """Whether gzip is accepted (RFC 9110, 12.5.3).

    >>> takes_gzip("br, gzip"), takes_gzip("gzip;q=0"), takes_gzip("")
    (True, False, False)
    """
    for one in accepted.split(","):
        name, _, weight = one.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzipped(body: bytes) -> bytes:
    """Return a body in the format gzip, at the level that costs least."""
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, GZIP)
    return packer.compress(body) + packer.flush()
