"""The bot's log."""

from wit_world.imports import log as _host


def _text(line: object) -> str:
    # Half of a surrogate pair is no text that the host could take.
    return str(line).encode("utf-8", "replace").decode()


def trace(line: object) -> None:
    """For the bot's author."""
    _host.log(_host.Level.TRACE, _text(line))


def debug(line: object) -> None:
    """For whoever looks for a fault."""
    _host.log(_host.Level.DEBUG, _text(line))


def info(line: object) -> None:
    """The normal course."""
    _host.log(_host.Level.INFO, _text(line))


def warn(line: object) -> None:
    """Something that may need attention."""
    _host.log(_host.Level.WARN, _text(line))


def error(line: object) -> None:
    """Something that failed."""
    _host.log(_host.Level.ERROR, _text(line))
