"""Documents: a Binary leaves where its DocumentReference tells of it.

A document may name people on every page. So a pseudonymous view learns of one that it is there, of what type and how
large; a blinded one, nothing (``blinding.ARM_TYPES``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

from gateway.fhir.references import Mapping
from gateway.release.elements import Tree

ATTACHMENTS: Final = frozenset({"attachment", "valueAttachment", "sourceAttachment", "presentedForm", "photo"})
"""Elements that are an Attachment (FHIR R4, 2.24.0.6), or a list of them."""

TOLD: Final = ("contentType", "size", "creation")
"""What a pseudonymous view sees of an Attachment."""

TAKEN_BACK: Final = frozenset({"entered-in-error", "cancelled"})
"""Statuses of the result that brought a document, after which nobody fetches it any more."""

_BINARY: Final = re.compile(r"Binary/[A-Za-z0-9\-.]{1,64}").fullmatch
_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}(; charset=[A-Za-z0-9-]{1,40})?").fullmatch
_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]{5,18}(Z|[+-]\d\d:\d\d))?)?)?").fullmatch


def shows_url(tree: Tree) -> bool:
    """Whether a DocumentReference leaves with the address of its document; ``tree``: its elements that may leave."""
    for name in ("content", "attachment", "url"):
        if name not in tree:
            return False
        tree = tree[name]
        if not tree:
            return True
    return True


def hidden(paths: Iterable[str]) -> list[str]:
    """Return those element paths that name what a pseudonymous view never sees of an Attachment.

    >>> hidden(["content.attachment.url", "content.attachment.size", "presentedForm"])
    ['content.attachment.url']
    """
    split = ((path, path.split(".")) for path in paths)
    return [
        path for path, names in split if any(one in ATTACHMENTS and other not in TOLD for one, other in pairwise(names))
    ]


def described(value: Any) -> Any:
    """Return an Attachment, or a list of them, as a pseudonymous view sees it."""
    if isinstance(value, list):
        return [one for one in map(described, value) if one]
    if not isinstance(value, dict):
        return None
    type, size, creation = (value.get(name) for name in TOLD)
    made: dict[str, Any] = {}
    if isinstance(type, str) and _TYPE(type):
        made["contentType"] = type
    if isinstance(size, int):
        made["size"] = size
    if isinstance(creation, str) and _TIME(creation):
        made["creation"] = creation
    return made


def link(body: dict[str, Any], led: Mapping) -> None:
    """Write the addresses of a DocumentReference's documents as the view knows them, and take away the others."""
    for content in body.get("content", ()):
        attachment = content.get("attachment", {})
        url = attachment.get("url")
        if isinstance(url, str) and _BINARY(url):
            target = led(url)
            if target is None:
                del attachment["url"]
            else:
                attachment["url"] = target
