"""Publishing events."""

import json
from typing import Optional, Union

from componentize_py_types import Err
from wit_world.imports import publish as _host

from .events import Event


class PublishError(Exception):
    """The host refuses an event; the message says why."""


def publish(
    event: Union[Event, dict],
    *,
    type: Optional[str] = None,
    topic: Optional[str] = None,
    subject: Optional[str] = None,
    key: Optional[str] = None,
) -> str:
    """Publish an event when the message is done. Returns the event's id.

    A typed event knows its type and its usual topic; a plain dict needs both. Events with one ``key`` have one id and
    are handled once; without it the id derives from the message in hand, so a timer's events need one.
    """
    if isinstance(event, Event):
        type, topic, data = type or event.TYPE, topic or event.TOPIC, event.to_data()
    else:
        data = event
    if type is None or topic is None:
        raise PublishError("an event that is a plain dict needs a type and a topic")
    try:
        return _host.send(_host.Event(topic, type, subject, json.dumps(data), key))
    except Err as refusal:
        error = refusal.value
    if isinstance(error, _host.Error_NotGranted):
        raise PublishError(f"may not publish to {error.value}")
    if isinstance(error, _host.Error_Invalid):
        raise PublishError(f"invalid event: {error.value}")
    raise PublishError(f"event larger than {error.value} bytes")
