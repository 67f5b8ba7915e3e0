"""From a class to a component."""

import os
import random
from typing import Any, Callable, Type, TypeVar

import wit_world
from componentize_py_types import Err
from wit_world.imports import types as _wit

from . import _streams, log
from ._traceback import format_exception, remember_sources
from .description import Description
from .message import Message
from .outcome import Reject, Retry


T = TypeVar("T")


class Bot:
    """A bot. Implement :meth:`handle` for messages, :meth:`tick` for timers."""

    #: What the bot is: its name, options, topics and timers.
    description: Description

    def configure(self) -> None:
        """Check the options, once, before the first message; raise ``ValueError`` if the bot can't work with them."""

    def handle(self, message: Message) -> None:
        """Handle one message."""
        raise Reject(f"this bot does not handle messages ({message.type})")

    def tick(self, timer: str) -> None:
        """A timer went off."""


def export(bot: Type[Bot]) -> type:
    """Make a component of a bot. Assign the result to ``WitWorld``: that is the name which the tool looks for."""

    remember_sources()

    def configured() -> None:
        try:
            bot().configure()
        except ValueError as refusal:
            raise Err(str(refusal)) from refusal

    class WitWorld(wit_world.WitWorld):
        def describe(self) -> _wit.Description:
            return _call(lambda: bot.description._to_wit())

        def configure(self) -> None:
            _call(configured)

        def handle(self, message: _wit.Message) -> _wit.Outcome:
            return _outcome(lambda: bot().handle(Message._from_wit(message)))

        def tick(self, timer: str) -> _wit.Outcome:
            return _outcome(lambda: bot().tick(timer))

    return WitWorld


def _call(work: Callable[[], T]) -> T:
    """A call of the host: what fails in it is in the log before the instance ends."""
    # The module's own generator remembers its state from the time when the bot was built. This one's follows from the message.
    random.seed(int.from_bytes(os.urandom(16), "little"))
    try:
        return work()
    except Err:
        raise
    except BaseException as error:
        log.error(format_exception(error))
        raise
    finally:
        _streams.flush()


def _outcome(work: Callable[[], Any]) -> _wit.Outcome:
    def settled() -> _wit.Outcome:
        try:
            work()
        except Retry as retry:
            millis = max(0, round(retry.after.total_seconds() * 1000))
            return _wit.Outcome_Retry(_wit.Retry(millis, retry.why))
        except Reject as reject:
            return _wit.Outcome_Reject(reject.why)
        return _wit.Outcome_Done()

    return _call(settled)
