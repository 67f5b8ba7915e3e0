"""The options that the operator gave, or their defaults."""

from typing import Optional

from wit_world.imports import config as _host


def all(name: str) -> list[str]:
    """All values of an option."""
    return _host.get(name)


def one(name: str) -> Optional[str]:
    """The first value of an option."""
    return next(iter(_host.get(name)), None)


def flag(name: str) -> bool:
    """Whether a flag was given."""
    return one(name) == "true"
