"""Narrative: what may stand in ``Narrative.div`` (FHIR R4, 2.4.0; invariants txt-1 and txt-2).

A page may show a partner's narrative, so what could run or load something is refused: scripts, forms, event
attributes, entities, processing instructions.
"""

from __future__ import annotations

import re
from typing import Final

_ELEMENTS: Final = re.compile(
    r"a|abbr|acronym|b|bdo|big|blockquote|br|caption|cite|code|col|colgroup|dd|del|dfn|div|dl|dt|em|h[1-6]|hr|i|img|ins|"
    r"kbd|li|map|area|ol|p|pre|q|samp|small|span|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|tt|ul|var"
).fullmatch
_ATTRIBUTES: Final = re.compile(
    r"xmlns|abbr|accesskey|align|alt|axis|bgcolor|border|cellhalign|cellpadding|cellspacing|cellvalign|char|charoff|"
    r"charset|cite|class|colspan|compact|coords|dir|frame|headers|height|href|hreflang|hspace|id|idref|lang|longdesc|"
    r"name|nowrap|rel|rev|rowspan|rules|scope|shape|span|src|start|style|summary|tabindex|title|type|usemap|valign|"
    r"value|vspace|width|xml:lang"
).fullmatch
_PART: Final = re.compile(
    r"<!--(?:(?!--).)*-->|<(?P<close>/?)(?P<name>[A-Za-z][\w:-]*)(?P<given>(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*)\s*"
    r"(?P<empty>/?)>|(?P<text>[^<]+)",
    re.DOTALL,
)
_GIVEN: Final = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_ENTITY: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|nbsp|#[0-9]+|#x[0-9A-Fa-f]+);)")
_ROOT: Final = re.compile(r"\s*<div\b[^>]*\bxmlns\s*=\s*([\"'])http://www\.w3\.org/1999/xhtml\1")


def check_narrative(div: str) -> str:
    """Return what is wrong with a narrative's ``div``, ``""`` when nothing is.

    >>> check_narrative('<div xmlns="http://www.w3.org/1999/xhtml"><p>Seen today</p></div>')
    ''
    >>> check_narrative('<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')
    'element not allowed in a narrative'
    """
    if not _ROOT.match(div):
        return "must be a div of the XHTML namespace"
    if _ENTITY.search(div):
        return "is not well-formed XHTML"
    return _walk(div.strip())


def _walk(div: str) -> str:
    """Follow the tags; the stack is what is open."""
    open_: list[str] = []
    at = 0
    while at < len(div):
        part = _PART.match(div, at)
        if part is None or (at and not open_):
            return "is not well-formed XHTML"
        at = part.end()
        if part["name"] and (wrong := _tag(part, open_)):
            return wrong
    if open_:
        return "is not well-formed XHTML"
    return "" if re.search(r">\s*[^<\s]|<img\b", div) else "has no content"


def _tag(part: re.Match[str], open_: list[str]) -> str:
    if part["close"]:
        closes = bool(open_) and open_.pop() == part["name"] and not part["given"]
        return "" if closes else "is not well-formed XHTML"
    if not _ELEMENTS(part["name"]):
        return "element not allowed in a narrative"
    for name, double, single in _GIVEN.findall(part["given"]):
        if not _ATTRIBUTES(name) or (double or single).strip().lower().startswith(("javascript:", "vbscript:")):
            return "attribute not allowed in a narrative"
    if not part["empty"]:
        open_.append(part["name"])
    return ""
