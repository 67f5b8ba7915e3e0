"""HTTP requests, made by the host.

Import it as ``from foundry_sdk import http``; the bot needs ``uses = ["http"]`` in its ``bot.toml``, and the operator's
``--allow-http URL``.
"""

import json as _json
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Union

from componentize_py_types import Err
from wit_world.imports import http as _host


class HttpError(Exception):
    """There is no answer; the message says why."""


class NotGranted(HttpError):
    """The URL, or one that it redirects to, isn't granted to this bot."""


@dataclass
class Response:
    """A server's answer, whatever its status."""

    status: int
    #: Names in lower case.
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON."""
        return _json.loads(self.body)


def get(url: str, *, headers: Optional[Mapping[str, str]] = None, timeout: Optional[int] = None) -> Response:
    """Ask for a URL. Redirects are followed as far as they are granted."""
    return request("GET", url, headers=headers, timeout=timeout)


def post(
    url: str,
    *,
    json: Any = None,
    body: Union[bytes, str] = b"",
    headers: Optional[Mapping[str, str]] = None,
    timeout: Optional[int] = None,
) -> Response:
    """Send something: JSON, or a body as it is."""
    fields = dict(headers or {})
    if json is not None:
        body = _json.dumps(json)
        fields.setdefault("content-type", "application/json")
    return request("POST", url, body=body, headers=fields, timeout=timeout)


def request(
    method: str,
    url: str,
    *,
    body: Union[bytes, str] = b"",
    headers: Optional[Mapping[str, str]] = None,
    timeout: Optional[int] = None,
) -> Response:
    """Send any request; it may take ``timeout`` seconds."""
    content = body.encode() if isinstance(body, str) else body
    try:
        answer = _host.send(_host.Request(method, url, list((headers or {}).items()), content, timeout))
    except Err as refusal:
        error = refusal.value
    else:
        return Response(answer.status, answer.headers, answer.body)
    if isinstance(error, _host.Error_NotGranted):
        raise NotGranted(f"not granted: {error.value}")
    if isinstance(error, _host.Error_TimedOut):
        raise HttpError("no answer in time")
    if isinstance(error, _host.Error_TooLarge):
        raise HttpError(f"larger than {error.value} bytes")
    raise HttpError(error.value)
