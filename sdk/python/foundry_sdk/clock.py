"""The host's clock. Python's own clocks stand still in a bot."""

from datetime import datetime, timezone

from wit_world.imports import clock as _host


def now() -> datetime:
    """Now, in UTC."""
    return datetime.fromtimestamp(_host.now() / 1000, timezone.utc)
