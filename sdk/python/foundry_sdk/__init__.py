"""Write Foundry bots in Python.

A bot is a class with a ``description`` and a ``handle`` method; :func:`export` makes a component of it::

    from foundry_sdk import Bot, Commit, Description, export, log

    class Greeter(Bot):
        description = Description("greeter", "0.1.0", "greets every commit").reads("commits", group="greeter")

        def handle(self, message):
            commit = message.event(Commit)
            log.info(f"hello, {commit.branch} of {commit.repository}")

    WitWorld = export(Greeter)

Returning from ``handle`` is the outcome *done*: what was published and written to the state takes effect. Raise
:class:`Retry` or :class:`Reject` for the other outcomes, and nothing takes effect. Any other exception reaches the
bot's log with its traceback, and counts as a failure of the bot's code.

Each message is handled by a fresh instance: nothing stays in memory, and what has to last goes into :mod:`state`.
"""

from . import clock, log, options, state
from .bot import Bot, export
from .description import Description, Option
from .events import Artifact, Build, Commit, Dist, Failure, Kept, Package, Sign
from .message import Message
from .outcome import Reject, Retry
from .publishing import PublishError, publish

__all__ = [
    "Artifact",
    "Bot",
    "Build",
    "Commit",
    "Description",
    "Dist",
    "Failure",
    "Kept",
    "Message",
    "Option",
    "Package",
    "PublishError",
    "Reject",
    "Retry",
    "Sign",
    "clock",
    "export",
    "log",
    "options",
    "publish",
    "state",
]
