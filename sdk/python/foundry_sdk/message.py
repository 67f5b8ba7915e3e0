"""A message that a bot receives."""

import json
from dataclasses import dataclass
from typing import Optional, Type

from .events import E_
from .outcome import Reject


@dataclass
class Message:
    """One event, already verified and checked against its schema."""

    #: The event's id. Two deliveries of the same event carry the same id.
    id: str
    #: The topic that it came on, without the prefix: ``commits``.
    topic: str
    #: The CloudEvents type: ``foundry.commit.v1``.
    type: str
    #: The bot that published it, as ``<host>/<bot>``.
    source: str
    #: What the event is about, for people.
    subject: Optional[str]
    #: When it was published, RFC 3339.
    time: str
    #: The run (one commit's way through the pipeline) that it belongs to.
    run: str
    #: How many times this message has been attempted here before; 0 at first.
    attempt: int
    #: The event's data.
    data: dict

    def event(self, kind: Type[E_]) -> E_:
        """The data as a typed event. A message of another type is rejected: it would be so at each attempt."""
        if self.type != kind.TYPE:
            raise Reject(f"a message of type {self.type}, not {kind.TYPE}")
        return kind.from_data(self.data)

    @classmethod
    def _from_wit(cls, message) -> "Message":
        return cls(
            message.id,
            message.topic,
            message.event_type,
            message.source,
            message.subject,
            message.time,
            message.run,
            message.attempt,
            json.loads(message.data),
        )
