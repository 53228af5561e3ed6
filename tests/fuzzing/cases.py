"""Bad input, the same for the same seed: what broken, hostile and merely careless senders put on the wire.

``cases`` is the corpus of ``make test``; ``message`` and ``wire`` make one more from any ``Random`` for ``make fuzz``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from adapters.hospital.framing import frame
from fixtures.story import story
from gateway.hl7v2.charset import CODECS
from gateway.hl7v2.reference import VERSIONS

REAL = [played.raw for played in story()]

_BYTES = (
    b"\x00",
    b"\r",
    b"\n",
    b"|",
    b"^",
    b"~",
    b"&",
    b"\\",
    b'""',
    b"\x1b$B",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3",
    b"\x85",
)
_TYPES = (
    b"ORU^R01",
    b"ADT^A40",
    b"ADT^A08^ADT_A01",
    b"CRM^C01",
    b"ORU",
    b"^R01",
    b"ACK",
    b"ZZZ^Z99",
    b"ORU^R01^^^",
    b"oru^r01",
)
_ASKS = (b"AL", b"NE", b"ER", b"SU", b"??", b"")
_VALUES = (
    b"9" * 5000, b"-" * 3000, b"1e999999999", b"1E+30", b"0." + b"0" * 400 + b"1", b"\xc2\xb2", b"\xd9\xa3", b"NaN",
    b"Infinity", b"1..2", b"1.." * 200, b"\xc2\xa0" * 300 + b"x", b"1" + b" " * 300 + b"x", b"00000000", b"20260230",
    b"20261399", b"99991231235959", b"99991231235959+1400", b"00010101000000-1200", b"20260329023000", b"2026+9999",
    b"\xc2\xb2026", b"2", b"<", b"<>^5^-^6", b">=^^:^", b"^^^", b"&&&", b"~~~", b"\\", b"\\X", b"\\XFF\\", b"\\XD83D\\",
    b"\\.br\\" * 50, b"\\E\\F\\S\\T\\R\\", b"\\Cxxyy\\", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", b"\xff\xfe",
    b"\x1b$B#\x1b(B",
    b"A" * 3000, b"^" * 300, b"~" * 300, b"&" * 300, b"a^b&c~" * 100, b'""^""~""', b" ", b"\t", b"\x00" * 8, b"%s%n{0}",
    b"<script>", b"'; DROP TABLE messages; --", b"../../etc/passwd", b"https://x.example/a b",
)  # fmt: skip
_DELIMITERS = (
    b"MSH|^~\\&", b"MSH|^", b"MSH|^~", b"MSH|", b"MSH", b"MSH||^~\\", b"MSH|^^^^", b"MSH#^~\\&", b"MSH|^~\\&#",
    b"MSH\r", b"MSH&^~\\|", b"MSH.:;,-", b"MSHA^~\\&", b"MSH\x00^~\\&", b"MSH |~\\&", b"MSH|^~\\&#%", b"MSH*+?\\.",
    b"MSH[](){", b"msh|^~\\&",
)  # fmt: skip


class Case(NamedTuple):
    """``wire`` is what is sent over MLLP; ``content`` the message, where that is one whole block (else None)."""

    kind: str
    wire: bytes
    content: bytes | None = None


def cases(count: int, seed: int = 20260301) -> Iterator[Case]:
    """Yield so many cases, kind after kind."""
    random = Random(seed)
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        if kind is _wire:
            yield Case("wire", wire(random) + b"\x1c\r")  # so that no block stays open for the next case
        else:
            yield _framed(kind.__name__.strip("_"), kind(random))


def message(random: Random) -> bytes:
    """Return one bad message of any kind."""
    return random.choice([kind for kind in _KINDS if kind is not _wire])(random)


def mutated(random: Random, content: bytes, most: int = 4) -> bytes:
    """Return a message changed in one to ``most`` places."""
    for _ in range(random.randint(1, most)):
        content = random.choice(_MUTATIONS)(random, content)
    return content


def wire(random: Random) -> bytes:
    """Return bytes that are not one clean block: cut off, glued, without beginning or end, noise between."""
    first, second = (random.choice((_real, _mutated, _random))(random)[:4000] for _ in range(2))
    return random.choice(_WIRES)(random, first, second)


def _framed(kind: str, content: bytes) -> Case:
    whole = not any(end in content + b"\x1c" for end in (b"\x1c\r", b"\x1c\n", b"\x1c\x0b")) and b"\x0b" not in content
    return Case(kind, frame(content), content if whole and content else None)


def _random(random: Random) -> bytes:
    head = random.choice((b"", b"", b"MSH", b"MSH|^~\\&|", b"\r\nMSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5\rPID|"))
    return head + random.randbytes(random.choice((0, 1, 10, 100, 2000)))


def _real(random: Random) -> bytes:
    """A message of the story, most often under a number of its own."""
    fields = random.choice(REAL).split(b"|", 10)
    if random.random() < 0.9:
        fields[9] = b"%X" % random.getrandbits(48)
    return b"|".join(fields)


def _mutated(random: Random) -> bytes:
    return mutated(random, _real(random))


def _header(random: Random) -> bytes:
    """A header with nonsense in the fields that decide: type, MSH-10, processing id, version, what is asked for."""
    fields = _real(random).split(b"\r", 1)
    head = fields[0].split(b"|")
    head += [b""] * (18 - len(head))
    head[8], head[9] = random.choice(_TYPES), random.choice((b"", b"1", *_VALUES))
    head[10], head[11] = (
        random.choice((b"P", b"P", b"T", b"")),
        random.choice((*VERSIONS, "", "9.9", "2.5.1^", "x")).encode(),
    )
    head[14], head[15] = random.choice(_ASKS), random.choice(_ASKS)
    head[random.randrange(2, 18)] = random.choice(_VALUES)
    return b"\r".join((b"|".join(head), *fields[1:]))


def _delimiters(random: Random) -> bytes:
    return _real(random).replace(b"MSH|^~\\&", random.choice(_DELIMITERS), 1)


def _charset(random: Random) -> bytes:
    """A character set of table 0211 declared over bytes of another."""
    declared, real = random.choice([*CODECS, "KLINGON", ""]), random.choice(list(CODECS.values()))
    lines = _real(random).decode("utf-8", "replace").split("\r")
    head = lines[0].split("|")
    head = (head + [""] * 18)[:18]
    head[17] = declared
    body = "\r".join(("|".join(head), *lines[1:], "NTE|1||Città ŁÓDŹ Ελλάδα ıĞ 東京 ÿ€"))
    encoded = body.encode(real, "replace")
    return encoded if random.random() < 0.8 else encoded + random.randbytes(20)


def _deep(random: Random) -> bytes:
    """Many repetitions, components, subcomponents or segments in one place."""
    mark = random.choice(
        (b"~", b"^", b"&", b"a~", b"a^b&", b"\\F\\", b"\r", b"\rOBX|1|NM|1||1", b"\rNTE|1||x", b"\rZZZ|", b"|", b"|a")
    )
    lines = _real(random).split(b"\r")
    at = random.randrange(len(lines))
    return (
        b"\r".join((*lines[: at + 1], b"")).rstrip(b"\r")
        + b"|"
        + mark * random.choice((20, 300))
        + b"\r"
        + b"\r".join(lines[at + 1 :])
    )


def _wire(random: Random) -> bytes:
    raise AssertionError("wire is made by wire()")


_KINDS: tuple[Callable[[Random], bytes], ...] = (
    _random, _mutated, _mutated, _mutated, _header, _delimiters, _charset, _deep, _real, _wire,
)  # fmt: skip


# --- changes to one message -----------------------------------------------------------------------------------------


def _flip(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 5) if changed else 0):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randint(0, len(content))]


def _remove(random: Random, content: bytes) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return content[:start] + content[min(end, start + 60) :]


def _repeat(random: Random, content: bytes) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return content[:end] + content[start : min(end, start + 200)] * random.randint(1, 4) + content[end:]


def _insert(random: Random, content: bytes) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.choice(_BYTES) * random.randint(1, 3) + content[at:]


def _field(random: Random, content: bytes) -> bytes:
    """Put something nasty into one field behind the header."""
    lines = content.split(b"\r")
    at = random.randrange(len(lines))
    fields = lines[at].split(b"|")
    fields[random.randrange(len(fields))] = random.choice(_VALUES)
    lines[at] = b"|".join(fields)
    return b"\r".join(lines) if at else content


def _segments(random: Random, content: bytes) -> bytes:
    """Leave out, double, swap or borrow segments."""
    lines = content.split(b"\r")
    at = random.randrange(len(lines))
    other = random.choice(_real(random).split(b"\r"))
    change = random.randrange(4)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(at, lines[at])
    elif change == 2:
        lines.insert(at, other)
    else:
        tail = lines[1:]
        random.shuffle(tail)
        lines[1:] = tail
    return b"\r".join(lines)


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip, _cut, _remove, _repeat, _insert, _field, _field, _field, _segments, _segments,
)  # fmt: skip


# --- what is not one clean block ------------------------------------------------------------------------------------

_WIRES: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    lambda random, one, two: b"\x0b" + one[: random.randint(0, len(one))],
    lambda random, one, two: b"\x0b" + one[: random.randint(0, len(one))] + frame(two),
    lambda random, one, two: frame(one) + frame(two),
    lambda random, one, two: frame(one)[:-1] + frame(two),
    lambda random, one, two: frame(one)[:-1] + b"\n" + frame(two),
    lambda random, one, two: one + b"\x1c\r" + frame(two),
    lambda random, one, two: one + frame(two),
    lambda random, one, two: frame(one + b"\x1c" + two),
    lambda random, one, two: frame(one) + random.randbytes(random.randint(0, 300)),
    lambda random, one, two: b"\x0b" * random.randint(1, 50) + one + b"\x1c" * random.randint(1, 50) + b"\r",
    lambda random, one, two: b"\r\n \x00" * random.randint(1, 50) + frame(one),
    lambda random, one, two: b"\x1c\r" * random.randint(1, 20),
    lambda random, one, two: frame(b"") * random.randint(1, 5),
)
