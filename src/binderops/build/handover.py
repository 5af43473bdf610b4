"""A build's two secrets, as `leaving` handed them over, and this process's memory kept to itself."""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from binderops.build.leaving import GIT, HANDED, REGISTRY, file_of
from binderops.errors import BuildError

_PR_SET_DUMPABLE = 4  # prctl(2)


@dataclass
class Secrets:
    """What was handed over. The git host's credential stays in its file, from which git alone reads it."""

    registry: str = field(default="", repr=False)
    """repo2docker's variable, a JSON object; empty for none."""
    _git: int | None = None

    @classmethod
    def taken(cls, environment: MutableMapping[str, str]) -> Secrets:
        """Those that `leave_environment` handed over, or that the environment holds: no more afterwards."""
        handed = dict(entry.split(":") for entry in environment.pop(HANDED, "").split(",") if entry)
        registry = environment.pop(REGISTRY, "")
        if REGISTRY in handed:
            with os.fdopen(int(handed[REGISTRY]), "rb") as file:
                file.seek(0)
                registry = os.fsdecode(file.read())
        git = int(handed[GIT]) if GIT in handed else None
        if git is None and (value := environment.pop(GIT, "")):
            git = file_of(value)
        if git is not None:
            os.set_inheritable(git, False)
        return cls(registry, git)

    @property
    def git(self) -> Path | None:
        """Where programs that this process starts read the git host's credential; None where there is none any more."""
        return None if self._git is None else Path(f"/proc/{os.getpid()}/fd/{self._git}")

    def forget_git(self) -> None:
        """Once everything is fetched: nothing in this pod knows the git host's credential any more."""
        if self._git is not None:
            os.close(self._git)
            self._git = None


def close_memory() -> None:
    """Let no process of this pod read this one's memory or files, except with CAP_SYS_PTRACE, which no build has.

    Only the git host's credential is gone once it is used; the registry's is needed after the last RUN step.
    """
    with suppress(AttributeError):
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
            return
    raise BuildError("the builder cannot keep its memory to itself", why=os.strerror(ctypes.get_errno()))
