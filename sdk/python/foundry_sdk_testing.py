"""Run a built bot against a world of its own, from pytest or any other test runner.

Runs the program ``foundry-host test``: the one that ``FOUNDRY_HOST`` names, or that is in ``PATH``.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union


@dataclass
class Result:
    """What became of a message."""

    #: ``done``, ``retry``, ``reject`` or ``fault``.
    outcome: str
    #: The reason, unless it is done.
    why: Optional[str]
    #: Events, in the order of their sending.
    published: list[dict]
    #: The bot's whole state afterwards; what is no text is in base64, after ``base64:``.
    state: dict[str, str]
    #: Lines with ``level`` and ``line``.
    log: list[dict]


def run(
    component: Union[str, Path],
    *,
    event: Union[str, Path, Mapping[str, Any], None] = None,
    tick: Optional[str] = None,
    state: Optional[Mapping[str, str]] = None,
    options: Optional[Mapping[str, Union[str, Sequence[str]]]] = None,
    attempt: int = 0,
    world: Union[str, Path, Mapping[str, Any], None] = None,
    arguments: Sequence[str] = (),
) -> Result:
    """Let the bot handle one event (a file, or an object with ``type`` and ``data``), or one tick of a timer.

    ``world`` has what git, builds and HTTP answer: a file that ``foundry-host test --record`` wrote, or its content.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [os.environ.get("FOUNDRY_HOST", "foundry-host"), "test", "--json", "--attempt", str(attempt)]
        if isinstance(event, Mapping):
            command += ["--event", _write(scratch, "event.json", event)]
        elif event is not None:
            command += ["--event", str(event)]
        if tick is not None:
            command += ["--tick", tick]
        if state is not None:
            command += ["--with-state", _write(scratch, "state.json", state)]
        if isinstance(world, Mapping):
            command += ["--world", _write(scratch, "world.json", world)]
        elif world is not None:
            command += ["--world", str(world)]
        command += [*arguments, str(component)]
        for name, values in (options or {}).items():
            for value in [values] if isinstance(values, str) else values:
                command += [f"--{name}={value}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(ended.stdout)
    except ValueError:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}") from None
    return Result(report["outcome"], report.get("why"), report["published"], report["state"], report["log"])


def _write(scratch: str, name: str, value: Mapping[str, Any]) -> str:
    path = Path(scratch, name)
    path.write_text(json.dumps(value))
    return str(path)
