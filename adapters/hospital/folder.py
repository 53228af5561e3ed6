"""Folder feeds: files of one or many messages, picked up when complete and moved when done.

A file is taken when its name ends in ``.hl7`` or ``.txt`` and its size and time stayed the same between two looks;
names that begin with a dot or end otherwise (``.tmp``, ``.part``) are left alone, so a sender may also write under
such a name and rename. Every message of the file is received, a receipt ``<name>.receipt.json`` is written, and both
stand in ``done/``, or in ``failed/`` if any message was refused. After a crash in the middle the file is received again
and what had been stored is recognised as a repeat.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.errors import Unreadable
from gateway.hl7v2.peek import peek
from gateway.hl7v2.split import Part, split
from gateway.model.site import Feed
from gateway.ports import Clock
from gateway.services.receive import Answer, Intake

log = structlog.get_logger()

SUFFIXES: Final = frozenset((".hl7", ".txt"))
_AHEAD: Final = 256
"""Messages of one file that may wait for their answer together."""


class FolderWatcher:
    """Watches the folder feeds, one thread each."""

    def __init__(self, feeds: Iterable[Feed], intake: Intake, clock: Clock) -> None:
        self._stop = threading.Event()
        self._folders = [_Folder(feed, intake, clock, self._stop) for feed in feeds if feed.kind == "folder"]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Create the folders that are missing and begin to look. Raises ``OSError`` when one cannot be created."""
        for folder in self._folders:
            folder.prepare()
        for folder in self._folders:
            thread = threading.Thread(target=self._run, args=(folder,), name="folder", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish the message at hand and end; a file begun is taken up again at the next start."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, folder: _Folder) -> None:
        while not self._stop.wait(folder.feed.look_seconds):
            try:
                folder.look()
            except OSError as error:
                log.warning("folder could not be read", feed=folder.feed.id, error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a receipt."""

    index: int
    control_id: str
    answer: Answer

    def as_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "control_id": self.control_id,
            "acknowledgment": self.answer.code,
            "accepted": self.answer.accepted,
            "message": self.answer.message,
            "reason": self.answer.reason,
        }


class _Interrupted(Exception):
    """The file could not be received to its end: it stays where it is."""


class _Folder:
    """One folder feed."""

    def __init__(self, feed: Feed, intake: Intake, clock: Clock, stop: threading.Event) -> None:
        self.feed = feed
        self._intake = intake
        self._clock = clock
        self._stop = stop
        self._path = Path(feed.path)
        self._seen: dict[Path, tuple[int, int]] = {}

    def prepare(self) -> None:
        """Create the folder and its ``done/`` and ``failed/``."""
        for name in ("done", "failed"):
            (self._path / name).mkdir(parents=True, exist_ok=True)

    def look(self) -> None:
        """Receive every file that has not changed since the last look."""
        seen = self._seen
        self._seen = {path: _state(path) for path in self._files()}
        for path, state in self._seen.items():
            if self._stop.is_set():
                return
            if seen.get(path) == state:
                self._receive(path)

    def _files(self) -> list[Path]:
        found = [
            path
            for path in self._path.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
        return sorted(found, key=lambda path: (_state(path)[1], path.name))

    def _receive(self, path: Path) -> None:
        parts = split(path.read_bytes())
        try:
            lines = list(self._lines(parts))
        except _Interrupted:
            log.warning("file not received to its end; it will be taken up again", feed=self.feed.id)
            return
        refused = sum(1 for line in lines if not line.answer.accepted)
        findings = [f"{finding.place}: {finding.what}" for finding in parts.findings]
        receipt = {
            "file": path.name,
            "feed": self.feed.id,
            "received_at": self._clock().isoformat(),
            "accepted": len(lines) - refused,
            "refused": refused,
            "findings": findings,
            "messages": [line.as_json() for line in lines],
        }
        folder = "failed" if refused or not lines else "done"
        target = _free(self._path / folder / path.name)
        _write(target.with_name(target.name + ".receipt.json"), receipt)
        path.replace(target)
        log.info("file received", feed=self.feed.id, accepted=len(lines) - refused, refused=refused)

    def _lines(self, parts: Iterable[Part]) -> Iterator[_Line]:
        """Receive the parts, some ahead of their answers, and yield a line for each in order."""
        waiting: list[tuple[Part, Future[Answer]]] = []
        for part in parts:
            while self._intake.full and not self._stop.wait(0.02):
                pass
            if self._stop.is_set():
                raise _Interrupted
            waiting.append((part, self._submit(part)))
            if len(waiting) >= _AHEAD:
                yield _line(*waiting.pop(0))
        for pair in waiting:
            yield _line(*pair)

    def _submit(self, part: Part) -> Future[Answer]:
        return self._intake.receive(self.feed, part.raw)


def _line(part: Part, future: Future[Answer]) -> _Line:
    answer = future.result()
    if answer.closes:
        raise _Interrupted
    try:
        control_id = peek(part.raw).control_id
    except Unreadable:
        control_id = ""
    return _Line(part.index, control_id, answer)


def _state(path: Path) -> tuple[int, int]:
    """Return size and time of change (ns); zeros when the file has gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _free(path: Path) -> Path:
    """Return ``path``, or the first of ``name-2.hl7``, ``name-3.hl7`` … that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _write(path: Path, receipt: dict[str, Any]) -> None:
    """Write a receipt so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(receipt, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
