"""An engine's log: a file that the engine writes itself, followed here and kept small.

The engine never waits for the tuner, and a killed tuner loses no line. A log that grows past its
limit loses its middle: causes stand at the beginning, last words at the end.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

LIMIT = 8 << 20
KEPT = 1 << 20
TAIL = 4096
_POLL_S = 0.2
_LONGEST_LINE = 4096
# What one look passes on at most; an engine that writes faster is not worth reading line by line.
_AT_ONCE = 1 << 20
# In the middle of a cut the end of a log is not in its file.
_cutting = threading.Lock()


class EngineLog:
    """The log of one server, from its start until `stop`.

    Args:
        path: The file. One that is there already is kept beside it as `<stem>.previous.log`.
        on_line: Hears every line, in a thread of its own.
    """

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self.path = path
        self._on_line = on_line
        self._position = 0
        self._rest = b""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="engine-log", daemon=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(path.with_suffix(".previous.log"))

    def open(self) -> IO[bytes]:
        """What the engine writes to; begins to follow it."""
        file = self.path.open("ab")  # appending: the engine goes on at the end after a cut
        self._thread.start()
        return file

    def stop(self) -> None:
        """Passes on what is left; the second time does nothing."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def text(self) -> str:
        """All that is kept of it."""
        return read_text(self.path)

    def last_line(self) -> str:
        """The last one that says something; empty when none does."""
        lines = [line.strip() for line in read_tail(self.path).splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def _follow(self) -> None:
        while not self._stopping.wait(_POLL_S):
            self._pass_on()
            self._cut()
        self._pass_on()
        if self._rest:
            self._tell(self._rest)
            self._rest = b""

    def _pass_on(self) -> None:
        size = _size(self.path)
        if size - self._position > _AT_ONCE:
            self._on_line(f"[... {size - self._position - _AT_ONCE} bytes of the log skipped ...]")
            self._position, self._rest = size - _AT_ONCE, b""
        new = _read(self.path, self._position, _AT_ONCE)
        self._position += len(new)
        *lines, self._rest = (self._rest + new).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._tell(line)
        self._rest = self._rest[-_LONGEST_LINE:]

    def _tell(self, line: bytes) -> None:
        if text := _decoded(line[:_LONGEST_LINE]).rstrip():
            self._on_line(text)

    def _cut(self) -> None:
        if _size(self.path) <= LIMIT:
            return
        with contextlib.suppress(OSError):  # a full disk: what was cut off is room already
            _cut_middle(self.path)
        self._position, self._rest = _size(self.path), b""


def read_text(path: Path) -> str:
    """All of a log file; empty when there is none."""
    with _cutting:
        return _decoded(_read(path, 0, 2 * LIMIT))


def read_tail(path: Path) -> str:
    """The end of a log file in whole lines, at most 4 KiB; empty when there is none."""
    with _cutting:
        start = max(0, _size(path) - TAIL)
        text = _decoded(_read(path, start, TAIL))
    _, newline, whole = text.partition("\n")
    return (whole if start and newline else text).encode()[-TAIL:].decode(errors="ignore")


def _cut_middle(path: Path) -> None:
    with _cutting, path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - KEPT)
        tail = file.read(KEPT)
        file.truncate(KEPT)
        with path.open("ab") as end:
            end.write(b"\n[... %d bytes of the log cut out ...]\n" % (size - 2 * KEPT) + tail)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, start: int, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(most)
    except FileNotFoundError:
        return b""


def _decoded(text: bytes) -> str:
    return text.replace(b"\0", b"").decode(errors="replace")
