"""Names of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

The grammar is distribution's (https://pkg.go.dev/github.com/distribution/reference): the first part is a registry only
if it has a dot or a port, or is `localhost`; everything else is read as Docker Hub's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from binderops.errors import RegistryError

DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_NAMES = frozenset({DOCKER_HUB, DOCKER_HUB_API, "index.docker.io", "registry.hub.docker.com"})

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_LONGEST_PATH = 255


@dataclass(frozen=True)
class Reference:
    """One image name. `tag` and `digest` may both be there; the digest then decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name; raises RegistryError with the reason for anything that is not one."""
        name, _, digest = text.partition("@")
        if "@" in text and not _DIGEST.fullmatch(digest):
            raise _refused(text, "the part after @ is not sha256:… or sha512:…")
        head, slash, tail = name.rpartition("/")
        last, colon, tag = tail.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _refused(text, "the tag is not [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
        registry, repository = _split_registry(head + slash + last)
        if not _HOST.fullmatch(registry):
            raise _refused(text, f"{registry!r} is not a host name")
        if not is_repository(repository):
            raise _refused(text, f"{repository!r} is not a repository: lower-case parts joined by /")
        return cls(registry, repository, tag, digest)

    @property
    def selector(self) -> str:
        """What a manifest is asked for by: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def name(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def with_tag(self, tag: str) -> Reference:
        """The same repository at another tag."""
        return replace(self, tag=tag, digest="")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def registry_of_url(url: str) -> str:
    """Host and port of a registry's address, as names of images begin with: Docker Hub has several."""
    host = re.sub(r"^https?://", "", url).partition("/")[0]
    return DOCKER_HUB if host in _DOCKER_HUB_NAMES else host


def is_repository(text: str) -> bool:
    """Whether a text is a repository's path by the distribution grammar."""
    return len(text) <= _LONGEST_PATH and _PATH.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether a text is a content digest."""
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether a text is a tag."""
    return _TAG.fullmatch(text) is not None


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DOCKER_HUB, name if slash else f"library/{name}"


def _refused(text: str, why: str) -> RegistryError:
    return RegistryError(f"{text[:200]!r} is not the name of an image", why=why)
