"""The bot's log."""

from wit_world.imports import log as _host


def trace(line: object) -> None:
    """For the bot's author."""
    _host.log(_host.Level.TRACE, str(line))


def debug(line: object) -> None:
    """For whoever looks for a fault."""
    _host.log(_host.Level.DEBUG, str(line))


def info(line: object) -> None:
    """The normal course."""
    _host.log(_host.Level.INFO, str(line))


def warn(line: object) -> None:
    """Something that may need attention."""
    _host.log(_host.Level.WARN, str(line))


def error(line: object) -> None:
    """Something that failed."""
    _host.log(_host.Level.ERROR, str(line))
