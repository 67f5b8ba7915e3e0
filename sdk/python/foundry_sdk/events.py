"""The pipeline's events, typed. Their JSON Schemas are in ``wit/schemas/``."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Optional, Type, TypeVar

E_ = TypeVar("E_", bound="Event")

# Names in JSON that are no names in Python, or written otherwise there.
_IN_JSON = {
    "commit": "ref",
    "media_type": "mediaType",
    "duration_ms": "durationMs",
    "log_tail": "logTail",
}


@dataclass
class Artifact:
    """A file, by reference into the artifact store."""

    name: str
    size: int
    sha256: str
    media_type: str


@dataclass
class Package:
    """A binary package in a :class:`Dist`."""

    package: str
    version: str
    architecture: str


@dataclass
class Kept:
    """A file in a :class:`Dist` that stayed as it was published first."""

    name: str
    #: SHA-256 of the published file.
    published: str
    #: SHA-256 of this build's file, which is not published.
    offered: str


@dataclass
class Event:
    """Data of an event: a CloudEvents type and a usual topic."""

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]

    @classmethod
    def from_data(cls: Type[E_], data: dict) -> E_:
        """From a message's data. Fields that this class doesn't know are left out."""
        values = {}
        for each in fields(cls):
            name = _IN_JSON.get(each.name, each.name)
            if name in data:
                values[each.name] = _PARSERS.get(each.name, _as_it_is)(data[name])
        return cls(**values)

    def to_data(self) -> dict:
        """For publishing. Fields without a value are left out."""
        return _to_json(asdict(self))


@dataclass
class Commit(Event):
    """A commit was seen on a watched branch."""

    TYPE = "foundry.commit.v1"
    TOPIC = "commits"

    repository: str
    branch: str
    #: The commit's id: ``ref`` in JSON.
    commit: str


@dataclass
class Build(Event):
    """A commit's packages were built."""

    TYPE = "foundry.build.v1"
    TOPIC = "builds"

    repository: str
    branch: str
    commit: str
    source: str
    version: str
    architecture: str
    artifacts: list[Artifact]
    log: Optional[Artifact] = None
    duration_ms: int = 0


@dataclass
class Sign(Event):
    """A build's packages were signed."""

    TYPE = "foundry.sign.v1"
    TOPIC = "signs"

    repository: str
    branch: str
    commit: str
    source: str
    version: str
    architecture: str
    #: Fingerprint of the key.
    key: str
    artifacts: list[Artifact]
    #: A clear-signed text that names these files, by the same key.
    statement: Optional[str] = None


@dataclass
class Dist(Event):
    """A commit's packages were published."""

    TYPE = "foundry.dist.v1"
    TOPIC = "dists"

    repository: str
    branch: str
    commit: str
    #: The APT repository's name.
    name: str
    #: Codename.
    distribution: str
    source: str
    version: str
    packages: list[Package]
    artifacts: list[Artifact]
    #: Files that stayed as they were published before, though this build of the same source has other bytes.
    kept: list[Kept] = field(default_factory=list)


@dataclass
class Failure(Event):
    """A bot could not do its part for a run."""

    TYPE = "foundry.failure.v1"
    TOPIC = "failures"

    #: What failed: ``build``, ``sign``, ``dist``, or a bot.
    stage: str
    #: What went wrong, in a line.
    reason: str
    repository: Optional[str] = None
    branch: Optional[str] = None
    commit: Optional[str] = None
    phase: Optional[str] = None
    log_tail: list[str] = field(default_factory=list)
    log: Optional[Artifact] = None


def _as_it_is(value: Any) -> Any:
    return value


def _artifact(value: Optional[dict]) -> Optional[Artifact]:
    if value is None:
        return None
    return Artifact(value["name"], value["size"], value["sha256"], value["mediaType"])


_PARSERS = {
    "artifacts": lambda values: [_artifact(value) for value in values],
    "log": _artifact,
    "kept": lambda values: [Kept(each["name"], each["published"], each["offered"]) for each in values],
    "packages": lambda values: [Package(each["package"], each["version"], each["architecture"]) for each in values],
}


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {_IN_JSON.get(name, name): _to_json(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    return value
