"""What a bot says about itself."""

from dataclasses import dataclass, field
from typing import Optional

from wit_world.imports import types as _wit

_KINDS = {
    "text": (_wit.OptionKind.TEXT, "TEXT"),
    "flag": (_wit.OptionKind.FLAG, "TEXT"),
    "number": (_wit.OptionKind.NUMBER, "N"),
    "duration": (_wit.OptionKind.DURATION, "TIME"),
    "git-url": (_wit.OptionKind.GIT_URL, "URL[#BRANCH]"),
    "key": (_wit.OptionKind.KEY, "KEYID"),
    "site": (_wit.OptionKind.SITE, "DIR"),
    "file": (_wit.OptionKind.FILE, "FILE"),
}


@dataclass
class Option:
    """An option that the bot accepts, on the command line and in ``foundry.toml``."""

    #: Long name without dashes: ``build-branch``.
    name: str
    #: One sentence for the help.
    help: str
    #: ``text``, ``flag``, ``number``, ``duration``, ``git-url``, ``key``, ``site`` or ``file``.
    kind: str = "text"
    #: Its value when it isn't given.
    default: Optional[str] = None
    #: Whether it may be given several times.
    repeatable: bool = False
    #: Whether the bot can't work without it.
    required: bool = False
    #: Placeholder in the help.
    placeholder: Optional[str] = None


@dataclass
class Description:
    """A bot with a name, a version, and one line for its help."""

    name: str
    version: str
    summary: str
    #: Seconds that handling one message may take; none for the host's default.
    message_timeout: Optional[int] = None
    _options: list = field(default_factory=list, repr=False)
    _inputs: list = field(default_factory=list, repr=False)
    _outputs: list = field(default_factory=list, repr=False)
    _timers: list = field(default_factory=list, repr=False)

    def option(self, option: Option) -> "Description":
        """It accepts an option."""
        kind, placeholder = _KINDS[option.kind]
        self._options.append(
            _wit.OptionSpec(
                option.name,
                kind,
                option.repeatable,
                option.required,
                option.default,
                option.placeholder or placeholder,
                option.help,
            )
        )
        return self

    def reads(self, topic: str, group: str, option: str = "watch") -> "Description":
        """It reads a topic, which ``--OPTION`` can change, as a member of a group, which ``--endpoint`` can change."""
        self._inputs.append(_wit.Input(option, topic, group))
        return self

    def publishes(self, topic: str, option: str = "publish-to") -> "Description":
        """It publishes to a topic, which ``--OPTION`` can change."""
        self._outputs.append(_wit.Output(option, topic))
        return self

    def timer(self, name: str, option: str) -> "Description":
        """It has a timer, whose interval is the value of an option."""
        self._timers.append(_wit.Timer(name, option))
        return self

    def _to_wit(self) -> _wit.Description:
        return _wit.Description(
            self.name,
            self.version,
            self.summary,
            self._options,
            self._inputs,
            self._outputs,
            self._timers,
            self.message_timeout,
        )
