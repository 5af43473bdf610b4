"""What a provider of repositories is: it reads specs, resolves references, and says where things stand.

A new one is one module with a subclass and a row in `providers.CLASSES`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import httpx

from binderops.binder.builds.trees import FetchTree
from binderops.binder.traits import RepoProvider

TraitsT = TypeVar("TraitsT", bound=RepoProvider)


@dataclass(frozen=True)
class Display:
    """What the launch form shows and checks, as `/api/repoproviders` gives it."""

    name: str
    id: str
    validate_regex: str
    label: str
    placeholder: str
    detect: str = ""
    url_encode: bool = False
    default_ref: str = "HEAD"

    def to_json(self) -> dict[str, Any]:
        """The contract's form."""
        return {
            "displayName": self.name,
            "id": self.id,
            "spec": {"validateRegex": self.validate_regex},
            **({"detect": {"regex": self.detect}} if self.detect else {}),
            "repo": {"label": self.label, "placeholder": self.placeholder, "urlEncode": self.url_encode},
            "ref": {"enabled": bool(self.default_ref), **({"default": self.default_ref} if self.default_ref else {})},
        }


@dataclass(frozen=True)
class Repository:
    """What a spec names: the repository, and a reference that is not yet resolved."""

    spec: str
    url: str
    """What repo2docker is given."""
    ref: str
    slug: str
    """What names of images and build pods are made of."""


@dataclass(frozen=True)
class Resolved:
    """What the reference is now."""

    ref: str
    spec: str
    """The spec that always means this very commit."""
    ref_url: str
    """Where a person can look at it."""
    artifact: str = ""
    """Where the content lies in the registry, for what no repository holds."""


class Provider(ABC, Generic[TraitsT]):
    """One kind of repository. Made once, and shared by all requests: caches live here."""

    display: ClassVar[Display]
    metric_name: ClassVar[str]
    """The provider's name in metrics and event logs."""

    def __init__(self, traits: TraitsT, client: httpx.AsyncClient) -> None:
        self.traits = traits
        self._client = client

    @abstractmethod
    def parse(self, spec: str) -> Repository:
        """Read a raw spec; raises SpecError with the text that the visitor sees."""

    @abstractmethod
    async def resolve(self, repository: Repository) -> Resolved | None:
        """What its reference is now; None if there is no such thing; raises BinderOpsError if that cannot be known."""

    def identity(self, repository: Repository) -> str:
        """What tells the repository from every other one, of this provider and of all others."""
        return f"{self.display.id}:{repository.url}"

    def head_instead(self, repository: Repository) -> str | None:
        """The spec to try when this one's reference does not exist, or None."""
        return None

    def tree_source(self, repository: Repository, resolved: Resolved) -> FetchTree | None:
        """How the binder fetches the files of what was resolved, without a build; None: it does not."""
        return None

    @property
    def git_credentials(self) -> str:
        """What a build is given to fetch private repositories."""
        return self.traits.git_credentials

    def is_banned(self, spec: str) -> bool:
        """Whether the operator does not let this spec be launched. Patterns match at the start, in any case."""
        if _matches(self.traits.banned_specs, spec):
            return True
        return bool(self.traits.allowed_specs) and not _matches(self.traits.allowed_specs, spec)

    def quota(self, spec: str, *, usual: int, higher: int) -> int:
        """How many servers of this repository may run; 0: any number."""
        quota = higher if _matches(self.traits.high_quota_specs, spec) else usual
        for item in self.traits.spec_config:
            if re.match(item.pattern, spec, re.IGNORECASE):
                quota = int(item.config.get("quota", quota) or 0)
        return quota


def _matches(patterns: list[str], spec: str) -> bool:
    return any(re.match(pattern, spec, re.IGNORECASE) for pattern in patterns)
