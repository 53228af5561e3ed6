"""Fitting a sequence of segment names into a structure: which segment belongs to which group.

The fit depends on the names alone, so it is computed once for each sequence and kept. It is tolerant: each segment
goes to the nearest place the standard allows, going outwards from where the last one went; then to a later place, as
if what is required in between were not; and a segment that fits nowhere stays in the group where it appears.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from msgspec import Struct

from gateway.hl7v2.reference import Item, Layout

_BEGINNERS = frozenset({"PID", "ORC", "OBR", "RXO", "RXE", "RXD", "RXG", "RXA"})
"""Segments that begin something new even where the one that should come before them is missing."""

_KEPT = 300
"""Longer messages are fitted each time, so that the cache stays small."""


class Shape(Struct, eq=False):
    """A group: its children are positions in the message (from 0) and groups. ``taken``: items of which it has one."""

    layout: Layout
    children: list[int | Shape] = []
    taken: set[int] = set()

    @property
    def name(self) -> str:
        """The name of the group, or of the structure."""
        return self.layout.name

    def start(self) -> int:
        """Return the position of the first segment in it."""
        child = self.children[0]
        return child if isinstance(child, int) else child.start()

    def end(self) -> int:
        """Return the position of the last segment in it."""
        child = self.children[-1]
        return child if isinstance(child, int) else child.end()


@dataclass(frozen=True, slots=True)
class Fit:
    """A whole message in shape. ``stray``: positions (from 0) of segments that fit nowhere, Z segments left out."""

    root: Shape
    stray: tuple[int, ...]


@dataclass(slots=True)
class _Open:
    """A group that is still open: how far in its items it has come, and how often the current one was seen."""

    layout: Layout
    at: int = 0
    seen: int = 0


_Move = tuple[int, tuple[int, ...]]
"""(how many open groups stay open, the item indexes from there down to the segment)"""


def fit(layout: Layout, names: tuple[str, ...]) -> Fit:
    """Return the shape of a message whose segments have these names."""
    return _kept_fit(layout, names) if len(names) <= _KEPT else _fit(layout, names)


@lru_cache(maxsize=2048)
def _kept_fit(layout: Layout, names: tuple[str, ...]) -> Fit:
    return _fit(layout, names)


def _fit(layout: Layout, names: tuple[str, ...]) -> Fit:
    root = Shape(layout)
    within = [root]
    stray = []
    known = _names_of(layout)
    state: _State = ((layout, 0, 0),)
    for position, (name, following) in enumerate(zip(names, _following(names, known), strict=True)):
        step = _kept_step(state, name, following) if name in known else None
        if step is not None:
            move, state = step
            _enter(within, move)
        elif name[0] != "Z":
            stray.append(position)
        within[-1].children.append(position)
    return Fit(root, tuple(stray))


def _enter(within: list[Shape], move: _Move) -> None:
    """Leave and begin groups as the move says; ``within`` are those that are open, the whole message first."""
    depth, path = move
    del within[depth:]
    for index in path:
        shape = within[-1]
        shape.taken.add(index)
        group = shape.layout.items[index].group
        if group is not None:
            begun = Shape(group)
            shape.children.append(begun)
            within.append(begun)


@lru_cache(maxsize=256)
def _names_of(layout: Layout) -> frozenset[str]:
    return layout.anywhere


_State = tuple[tuple[Layout, int, int], ...]


def _state(stack: list[_Open]) -> _State:
    """Return all that a choice depends on: of what repeats without bound, only whether it was seen."""
    return tuple([(frame.layout, frame.at, min(frame.seen, frame.layout.items[frame.at].most or 1)) for frame in stack])


@lru_cache(maxsize=4096)
def _kept_step(state: _State, name: str, following: str) -> tuple[_Move, _State] | None:
    """Choose as ``_choose`` does and return the state after it, too.

    Messages of a sender differ in where notes stand, and go through few states.
    """
    stack = [_Open(layout, at, seen) for layout, at, seen in state]
    move = _choose(stack, name, following)
    return (move, _state(_after(stack, move))) if move is not None else None


def _following(names: tuple[str, ...], known: frozenset[str]) -> list[str]:
    """Return for each segment the next one of the structure that has another name; ``""`` where none comes."""
    following = [""] * len(names)
    for position in range(len(names) - 2, -1, -1):
        after = names[position + 1]
        differs = after in known and after != names[position]
        following[position] = after if differs else following[position + 1]
    return following


def _choose(stack: list[_Open], name: str, following: str) -> _Move | None:
    """Return the best move for ``name``, None when it is out of place."""
    for complete in (True, False):
        moves = list(_strict_moves(stack, name, complete))
        if moves:
            return _best(stack, moves, following)
    beginning = next(_new_beginnings(stack, name), None)
    return beginning or _later_place(stack, name, following)


def _best(stack: list[_Open], moves: list[_Move], following: str) -> _Move:
    """Return the nearest of the moves after which ``following`` fits, best without leaving a group unfinished."""
    if len(moves) > 1 and following:
        for complete in (True, False):
            for move in moves:
                if _fits(_after(stack, move), following, complete):
                    return move
    return moves[0]


def _strict_moves(stack: list[_Open], name: str, complete: bool) -> Iterator[_Move]:
    """Yield the moves that leave out nothing required; with ``complete`` no group is left unfinished either."""
    for depth in range(len(stack) - 1, -1, -1):
        frame = stack[depth]
        for index, item in _reachable(frame):
            if name in item.first:
                yield depth + 1, (index, *_path(item, name, strict=True))
        if complete and any(item.needed for item in _later(frame)):
            return


def _reachable(frame: _Open) -> Iterator[tuple[int, Item]]:
    """Yield the items that may come next without leaving out a required one."""
    items = frame.layout.items
    if frame.seen and (not items[frame.at].most or frame.seen < items[frame.at].most):
        yield frame.at, items[frame.at]
    for index, item in enumerate(_later(frame), frame.at + (frame.seen > 0)):
        yield index, item
        if item.needed and not frame.layout.choice:
            return


def _later(frame: _Open) -> tuple[Item, ...]:
    """Return the items that have not had their turn; of a choice already made, none."""
    if frame.seen and frame.layout.choice:
        return ()
    return frame.layout.items[frame.at + (frame.seen > 0) :]


def _new_beginnings(stack: list[_Open], name: str) -> Iterator[_Move]:
    """Yield the repetitions of an open group that ``name`` begins although something required before it is missing."""
    if name not in _BEGINNERS:
        return
    for depth in range(len(stack) - 1, -1, -1):
        frame = stack[depth]
        item = frame.layout.items[frame.at]
        if frame.seen and item.group is not None and not item.most and name in item.anywhere:
            yield depth + 1, (frame.at, *_path(item, name, strict=False))


def _later_place(stack: list[_Open], name: str, following: str) -> _Move | None:
    """Return the nearest later place for ``name``, whatever required is left out on the way.

    None if ``following`` fits nearer without this move than after it: then it is ``name`` that is out of place.
    """
    for depth in range(len(stack) - 1, -1, -1):
        frame = stack[depth]
        for index, item in enumerate(_later(frame), frame.at + (frame.seen > 0)):
            if name in item.anywhere:
                move = depth + 1, (index, *_path(item, name, strict=False))
                return None if _nearness(stack, following) > _nearness(_after(stack, move), following) else move
    return None


def _path(item: Item, name: str, *, strict: bool) -> tuple[int, ...]:
    """Return the item indexes that lead from a group down to the segment; () for a segment."""
    if item.group is None:
        return ()
    for index, child in enumerate(item.group.items):
        if name in (child.first if strict else child.anywhere):
            return (index, *_path(child, name, strict=strict))
    raise AssertionError(name)


def _after(stack: list[_Open], move: _Move) -> list[_Open]:
    """Return what ``stack`` would be after the move."""
    depth, path = move
    ahead = [_Open(frame.layout, frame.at, frame.seen) for frame in stack[:depth]]
    for index in path:
        frame = ahead[-1]
        frame.seen = frame.seen + 1 if index == frame.at else 1
        frame.at = index
        group = frame.layout.items[index].group
        if group is not None:
            ahead.append(_Open(group))
    return ahead


def _nearness(stack: list[_Open], name: str) -> int:
    """Return how many groups stay open when ``name`` comes next; 0 when it does not fit."""
    return next((kept for kept, _ in _strict_moves(stack, name, False)), 0)


def _fits(stack: list[_Open], name: str, complete: bool) -> bool:
    return next(_strict_moves(stack, name, complete), None) is not None
