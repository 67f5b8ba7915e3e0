"""E-mail, sent by the host through its operator's server.

Import it as ``from foundry_sdk import mail``; the bot needs ``uses = ["mail"]`` in its ``bot.toml``, and the operator's
``--allow-mail ADDRESS``. A mail goes at once, whatever becomes of the message in hand: if that is handled again, so is the
mail, with the same ``Message-ID``.
"""

from typing import Optional, Sequence, Union

from componentize_py_types import Err
from wit_world.imports import mail as _host


class MailError(Exception):
    """The mail was not sent; the message says why."""

    #: Whether another attempt may do better.
    temporary = False


class NotGranted(MailError):
    """An address isn't granted to this bot."""


class Refused(MailError):
    """The server refuses the mail, or one of its addresses, for good."""


class Unavailable(MailError):
    """The server refuses the mail for now, can't be reached, or the bot has sent its share."""

    temporary = True


def send(to: Union[str, Sequence[str]], subject: str, text: str, *, key: Optional[str] = None) -> str:
    """Send a mail to all of these addresses, or to none. Returns its ``Message-ID``.

    ``key`` tells this mail from others where no message is in hand, as in ``tick``.
    """
    recipients = [to] if isinstance(to, str) else list(to)
    try:
        return _host.send(_host.Message(recipients, subject, text, key))
    except Err as refusal:
        error = refusal.value
    if isinstance(error, _host.Error_NotGranted):
        raise NotGranted(f"not granted: {error.value}")
    if isinstance(error, _host.Error_RefusedAddress):
        address, said = error.value
        raise Refused(f"the server refuses {address}: {said}")
    if isinstance(error, _host.Error_Refused):
        raise Refused(f"the server refuses the mail: {error.value}")
    if isinstance(error, _host.Error_TryLater):
        raise Unavailable(f"the server refuses the mail for now: {error.value}")
    if isinstance(error, _host.Error_TooMany):
        raise Unavailable(f"too many mails: the next one may go in {error.value} s")
    if isinstance(error, _host.Error_Unavailable):
        raise Unavailable(error.value)
    if isinstance(error, _host.Error_TooLarge):
        raise MailError(f"larger than {error.value} bytes")
    raise MailError(error.value)
