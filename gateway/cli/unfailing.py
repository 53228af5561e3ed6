"""A log that cannot be written must not stop the work: a full disk is met by the log first."""

from __future__ import annotations

from typing import TextIO


class Unfailing:
    """Passes text on to a stream; what it does not take is counted, and the count written when it takes text again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        """Write a line."""
        try:
            if self._lost:
                self._stream.write(f"{self._lost} log lines could not be written\n")
                self._lost = 0
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line was written through."""
