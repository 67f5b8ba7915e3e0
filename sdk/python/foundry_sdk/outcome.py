"""The outcomes of a message, other than done."""

from datetime import timedelta
from typing import Union


class Retry(Exception):
    """Nothing takes effect; the message is handled again, at least ``after`` (seconds, or a timedelta) later."""

    def __init__(self, why: str, after: Union[float, timedelta] = 0):
        super().__init__(why)
        self.why = why
        self.after = after if isinstance(after, timedelta) else timedelta(seconds=after)


class Reject(Exception):
    """Nothing takes effect; the message becomes a dead letter, with this reason."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why
