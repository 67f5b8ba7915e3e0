"""Tracebacks without files: a bot has none at run time, where Python's own formatting looks for its sources."""

import re
import sys

# Lines of the bot's own modules and of the SDK, by file.
_sources: dict[str, list[str]] = {}

# Where the project is while the bot is built.
_PROJECT = "/0/"

# Where the interpreter's own modules are, and those that componentize-py generates.
_NOT_OURS = ("/python/", "/bundled/", "/world/")

_SDK = "/foundry_sdk/"

# How an import gets from a module to the next: Python leaves it out as well.
_MACHINERY = re.compile(r"<frozen importlib|/python/importlib/|.*/foundry_sdk/_base\.py$")


def remember_source(path: str, text: str) -> None:
    """Keep the source of a module."""
    _sources[path] = text.splitlines()


def remember_sources() -> None:
    """Keep the sources of the bot's own modules, so that tracebacks show their lines. Called while it is built."""
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        # What is known already may have come without a file.
        if path and path.endswith(".py") and not path.startswith(_NOT_OURS) and path not in _sources:
            try:
                with open(path, encoding="utf-8") as source:
                    remember_source(path, source.read())
            except (OSError, UnicodeDecodeError):
                continue


def format_exception(error: BaseException) -> str:
    """The traceback of an exception and of those that led to it, as Python writes it."""
    lines: list[str] = []
    _add(error, lines, set())
    return "\n".join(lines)


def _as_the_author_knows_it(path: str) -> str:
    return path.removeprefix(_PROJECT)


def _add(error: BaseException, lines: list[str], seen: set[int]) -> None:
    seen.add(id(error))
    origin, how = error.__cause__, "The above exception was the direct cause of the following exception:"
    if origin is None and not error.__suppress_context__:
        origin, how = error.__context__, "During handling of the above exception, another exception occurred:"
    if origin is not None and id(origin) not in seen:
        _add(origin, lines, seen)
        lines += ["", how, ""]
    lines.append("Traceback (most recent call last):")
    steps = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    # The way from the host to the bot says nothing.
    while len(steps) > 1 and _SDK in steps[0].tb_frame.f_code.co_filename:
        del steps[0]
    for step in steps:
        code = step.tb_frame.f_code
        if not _MACHINERY.match(code.co_filename):
            lines.append(f'  File "{_as_the_author_knows_it(code.co_filename)}", line {step.tb_lineno}, in {code.co_qualname}')
            source = _sources.get(code.co_filename, [])
            if 0 < step.tb_lineno <= len(source):
                lines.append(f"    {source[step.tb_lineno - 1].strip()}")
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = str(error)
    lines.append(f"{name}: {text}" if text else name)
