"""The bot's own key-value state. Writes take effect when the message is done, or not at all."""

import json as _json
from typing import Any, Optional, Union

from componentize_py_types import Err as _Err
from wit_world.imports import state as _host


class StateError(Exception):
    """The host refuses a write, or cannot read; the message says why."""


def get(key: str) -> Optional[bytes]:
    """The value of a key; none if there is none."""
    return _ask(_host.get, key)


def set(key: str, value: Union[bytes, str]) -> None:
    """Set a key's value. Text is stored as UTF-8."""
    _ask(_host.set, key, value.encode() if isinstance(value, str) else value)


def delete(key: str) -> None:
    """Remove a key; it need not exist."""
    _ask(_host.delete, key)


def keys(prefix: str = "") -> list[str]:
    """The keys that begin with a prefix, sorted."""
    return _ask(_host.keys, prefix)


def get_json(key: str, default: Any = None) -> Any:
    """The value of a key that :func:`set_json` wrote."""
    value = get(key)
    return default if value is None else _json.loads(value)


def set_json(key: str, value: Any) -> None:
    """Set a key's value to anything that JSON can express."""
    set(key, _json.dumps(value))


def _ask(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except _Err as refusal:
        error = refusal.value
    if isinstance(error, _host.Error_TooLarge):
        raise StateError(f"the state would become larger than {error.value} bytes")
    if isinstance(error, _host.Error_BadKey):
        raise StateError("the key is empty, or longer than 1024 bytes")
    raise StateError(error.value)
