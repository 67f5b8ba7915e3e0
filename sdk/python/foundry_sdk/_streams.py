"""Standard streams that outlive the build: what the bot's modules print while they are read becomes lines of the build's log,
what it prints later goes to the host. Python's own would remember the build's streams, which are no longer there."""

import io
import os
import sys

from wit_world.imports import log as _host

# Whether the bot's modules are read just now.
reading = False


class _Raw(io.RawIOBase):
    def __init__(self, descriptor: int, level: "_host.Level") -> None:
        self._descriptor = descriptor
        self._level = level
        self._line = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        data = bytes(data)
        if not reading:
            # Nobody above asks whether all of it was written.
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            return len(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._log(line)
        return len(data)

    def end(self) -> None:
        if self._line:
            self._log(self._line)
            self._line = b""

    def _log(self, line: bytes) -> None:
        _host.log(self._level, line.decode("utf-8", "replace"))


_raws = [_Raw(1, _host.Level.INFO), _Raw(2, _host.Level.WARN)]


def install() -> None:
    """Replace standard output and standard error. Called while a base is made."""
    out, err = (
        io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=True)  # type: ignore[type-var]
        for raw, errors in zip(_raws, ["strict", "backslashreplace"])
    )
    sys.stdout = sys.__stdout__ = out
    sys.stderr = sys.__stderr__ = err


def flush() -> None:
    """The call is over: what waits is written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # The bot has put something else there, or closed it.
            continue


def end_of_reading() -> None:
    """The bot's modules are read."""
    global reading
    flush()
    for raw in _raws:
        raw.end()
    reading = False


def begin_reading() -> None:
    """The bot's modules will be read."""
    global reading
    reading = True
