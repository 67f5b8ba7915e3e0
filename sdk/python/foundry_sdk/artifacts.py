"""The artifact store: content-addressed bytes that events refer to.

Import it as ``from foundry_sdk import artifacts``; the bot needs ``uses = ["artifacts"]`` in its ``bot.toml``, and the
operator's ``--allow-artifacts``.
"""

from componentize_py_types import Err
from wit_world.imports import artifacts as _host
from wit_world.imports import types as _wit

from .events import Artifact

# The host answers one call with at most this much.
_CHUNK = 16 * 1024 * 1024


class ArtifactError(Exception):
    """An artifact could not be read or stored; the message says why."""


def read(artifact: Artifact) -> bytes:
    """All bytes of an artifact."""
    parts = []
    offset = 0
    while offset < artifact.size:
        part = _ask(_host.read, _to_wit(artifact), offset, min(_CHUNK, artifact.size - offset))
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def store(name: str, content: bytes, media_type: str = "application/octet-stream") -> Artifact:
    """Store bytes under a plain file name."""
    stored = _ask(_host.store, name, media_type, content)
    return Artifact(stored.name, stored.size, stored.sha256, stored.media_type)


def _to_wit(artifact: Artifact) -> _wit.Artifact:
    return _wit.Artifact(artifact.name, artifact.size, artifact.sha256, artifact.media_type)


def _ask(call, *arguments):
    try:
        return call(*arguments)
    except Err as refusal:
        error = refusal.value
    kind = type(error).__name__.removeprefix("Error_")
    raise ArtifactError(f"{kind}: {getattr(error, 'value', '')}".rstrip(": "))
