"""From bytes to text: MSH-18 (HL7 table 0211), the site's default, and detection where the declaration is wrong.

A declaration is trusted unless the bytes contradict it: text that is valid UTF-8 beyond ASCII is taken for UTF-8 where
the declared set has no letters at 80 to BF (8859/1, 8859/9, 8859/15, ASCII), and bytes 80 to 9F, which no 8859 set
uses for text, mean Windows-1252. Each such correction is a ``Finding``. Text comes out in Unicode form NFC.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from gateway.errors import Place, Unreadable
from gateway.model.translation import Finding

MSH_18: Final = Place("MSH", 1, 18)

CODECS: Final = {
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "ISO IR87": "iso2022_jp",
    "UNICODE": "utf-16",
    "UNICODE UTF-8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    "WINDOWS-1252": "cp1252",
}
"""Codes of HL7 table 0211 (and Windows-1252, which a site may declare) and the Python codec of each."""

_LOOSE: Final = {re.sub(r"[^A-Z0-9]|UNICODE (?=U)", "", name): codec for name, codec in CODECS.items()} | {
    "88591": "iso8859-1",
    "CP1252": "cp1252",
    "USASCII": "ascii",
    "IR6": "ascii",
    "UTF8": "utf-8",
    "UNICODEUTF8": "utf-8",
}
_WESTERN: Final = frozenset({"ascii", "iso8859-1", "iso8859-9", "iso8859-15", "cp1252"})
"""Sets without letters at A0 to BF, so that UTF-8 is told from them, and without combining characters."""

_NOT_C1: Final = bytes(byte for byte in range(256) if not 0x80 <= byte <= 0x9F)
_SINGLE_OR_UTF8: Final = frozenset({"ascii", "utf-8", "cp1252"} | {c for c in CODECS.values() if c.startswith("iso88")})
_WIDE_SIGNS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE_HEADER = re.compile(rb"(?P<be>\x00[A-Z]\x00[A-Z]\x00[A-Z]\x00[!-~])|(?P<le>[A-Z]\x00[A-Z]\x00[A-Z]\x00[!-~]\x00)")


@dataclass(frozen=True, slots=True)
class Decoded:
    r"""Text and how it was read: the Python codec used (also for ``\X..\``) and MSH-18 as sent."""

    text: str
    charset: str
    declared: str
    findings: tuple[Finding, ...] = ()


def decode(raw: bytes, *, default: str = "ASCII", windows_1252: bool = False, transport_utf16: bool = True) -> Decoded:
    r"""Return the text of a message or file; ``default`` (table 0211) is read where MSH-18 is empty.

    ``windows_1252``: ASCII and 8859/1 of this site are really Windows-1252. Raises ``Unreadable`` at MSH-18 for UTF-16
    and UTF-32 where the transport cannot carry them (``transport_utf16=False``) or they are broken.

    >>> decode(b"MSH|^~\\&|LAB|Citt\xc3\xa0").findings[0].what
    'the bytes are UTF-8, not ASCII'
    """
    if wide := wide_codec(raw):
        return _decode_wide(raw, wide, transport_utf16)
    body = raw.removeprefix(codecs.BOM_UTF8)
    declared = _declared(body)
    findings: list[Finding] = []
    wanted = _wanted(declared, default, findings)
    if len(body) != len(raw):
        wanted = _marked(wanted, findings)
    if windows_1252 and wanted in {"ascii", "iso8859-1"}:
        wanted = "cp1252"
    if body.isascii() and wanted in _SINGLE_OR_UTF8:
        return Decoded(body.decode("ascii"), wanted, declared, tuple(findings))
    codec = _fitting(body, wanted)
    if codec != wanted:
        findings.append(Finding(str(MSH_18), f"the bytes are {_title(codec)}, not {_title(wanted)}"))
    text = body.decode(codec)
    return Decoded(text if codec in _WESTERN else _normal(text), codec, declared, tuple(findings))


def wide_codec(raw: bytes) -> str:
    """Return the codec of UTF-16 or UTF-32 text, told by its byte order mark or header; else ``""``."""
    if raw.startswith(b"MSH"):
        return ""
    for sign, codec in _WIDE_SIGNS:
        if raw.startswith(sign):
            return codec
    found = _WIDE_HEADER.match(raw)
    if found is None:
        return ""
    return "utf-16-be" if found["be"] else "utf-16-le"


def codec_of(name: str) -> str:
    """Return the Python codec of a name of table 0211, or of a common misspelling of one; ``""`` when not known.

    >>> codec_of("8859/15"), codec_of("ISO-8859-1"), codec_of("utf8"), codec_of("KLINGON")
    ('iso8859-15', 'iso8859-1', 'utf-8', '')
    """
    name = name.strip().upper()
    return CODECS.get(name) or _LOOSE.get(re.sub(r"^ISO|[^A-Z0-9]", "", name), "")


def _declared(body: bytes) -> str:
    """Return the first repetition of MSH-18 as sent."""
    head = body.lstrip(b"\r\n\x0b \t")
    if not head.startswith((b"MSH", b"FHS", b"BHS")):
        return ""
    line = re.split(rb"[\r\n]", head[:4096], maxsplit=1)[0]
    fields = line.split(line[3:4], 18) if len(line) > 3 else []
    if len(fields) < 18 or head.startswith((b"FHS", b"BHS")):
        return ""
    repetition = fields[1][1:2]
    first = fields[17].split(repetition)[0] if repetition else fields[17]
    return first.decode("latin-1")


def _wanted(declared: str, default: str, findings: list[Finding]) -> str:
    if not declared.strip():
        return codec_of(default) or "ascii"
    codec = codec_of(declared)
    if not codec:
        findings.append(Finding(str(MSH_18), "the character set is not in table 0211"))
        return codec_of(default) or "ascii"
    if declared.strip() not in CODECS:
        findings.append(Finding(str(MSH_18), f"read as {_title(codec)}: the name is not in table 0211"))
    return codec


def _marked(wanted: str, findings: list[Finding]) -> str:
    """Return UTF-8 for bytes with its byte order mark, and report a declaration that says otherwise."""
    if wanted not in {"utf-8", "ascii"}:
        findings.append(Finding(str(MSH_18), f"the byte order mark is of UTF-8, not {_title(wanted)}"))
    return "utf-8"


def _fitting(body: bytes, wanted: str) -> str:
    """Return the codec the bytes really are in: ``wanted`` unless they contradict it."""
    if _decodes(body, "utf-8") and (wanted in _WESTERN or _decodes_better(body, wanted)):
        return "utf-8"
    if wanted in {"iso8859-1", "ascii"}:
        return _western(body, "iso8859-1")
    if not wanted.startswith("utf-16") and not wanted.startswith("utf-32") and _decodes(body, wanted):
        return wanted
    return _western(body, "iso8859-1")


def _decodes_better(body: bytes, wanted: str) -> bool:
    """Say whether UTF-8 is the better reading of bytes that are valid UTF-8."""
    if wanted in {"utf-8", "utf-16", "utf-32"}:
        return True
    return wanted.startswith("iso8859") and _has_c1(body)


def _western(body: bytes, otherwise: str) -> str:
    return "cp1252" if _has_c1(body) and _decodes(body, "cp1252") else otherwise


def _has_c1(body: bytes) -> bool:
    """Say whether there are bytes 80 to 9F, which are control characters in every 8859 set."""
    return bool(body.translate(None, _NOT_C1))


def _decodes(body: bytes, codec: str) -> bool:
    try:
        body.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _decode_wide(raw: bytes, codec: str, allowed: bool) -> Decoded:
    if not allowed:
        raise Unreadable("UTF-16 and UTF-32 cannot travel on this transport", MSH_18, "103")
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError:
        raise Unreadable("broken UTF-16 or UTF-32", MSH_18, "103") from None
    declared = _declared(text[:4096].encode())
    findings = []
    if declared.strip() and codec_of(declared)[:6] != codec[:6]:
        findings.append(Finding(str(MSH_18), f"the bytes are {_title(codec)}, not as declared"))
    return Decoded(_normal(text), codec, declared, tuple(findings))


def _normal(text: str) -> str:
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _title(codec: str) -> str:
    if codec == "cp1252":
        return "Windows-1252"
    return codec.upper().replace("ISO8859-", "8859/")
