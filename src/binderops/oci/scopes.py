"""What is asked of a registry; apart from tokens.py, so that builds need no cryptography to start."""

from __future__ import annotations

import re
from dataclasses import dataclass

from binderops.oci.references import is_repository

PULL = "pull"
PUSH = "push"
_ACTIONS = frozenset({PULL, PUSH, "delete", "*"})


@dataclass(frozen=True)
class Scope:
    """What is asked for: actions on one repository (`repository:PATH:pull,push`)."""

    repository: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """Read one scope; None for what is not a scope on a repository (nothing is granted for it)."""
        match = re.fullmatch(r"repository(?:\([a-z0-9]+\))?:([^:]+(?::[0-9]+/[^:]+)?):([a-z*,]*)", text)
        if not match or not is_repository(match[1]):
            return None
        return cls(match[1], frozenset(match[2].split(",")) & _ACTIONS)

    @classmethod
    def pull(cls, repository: str) -> Scope:
        """Read one repository."""
        return cls(repository, frozenset({PULL}))

    @classmethod
    def push(cls, repository: str) -> Scope:
        """Read and write one repository."""
        return cls(repository, frozenset({PULL, PUSH}))

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(sorted(self.actions))}"
