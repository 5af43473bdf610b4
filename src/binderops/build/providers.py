"""repo2docker's content providers, kept from asking the network what an address already says.

Several of them look for their hosts in lists that they fetch, for every address and without a deadline: a build of a
git repository would fail, or hang, because somebody else's list cannot be reached.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from repo2docker.contentproviders import Git, Local
from repo2docker.contentproviders.base import ContentProvider, ContentProviderException

_DETECT_SECONDS = 15.0
_TAIL_LINES = 5
# Addresses that only git serves: binders add .git to what their git providers link to.
_GIT_PREFIXES = ("git@", "git://", "ssh://", "https://github.com/", "https://gist.github.com/", "https://gitlab.com/")


def is_git_address(source: str) -> bool:
    """Whether an address can only be a git repository's."""
    return source.startswith(_GIT_PREFIXES) or source.endswith(".git")


def careful(provider: type[ContentProvider]) -> type[ContentProvider]:
    """Return the provider, made to pass over git addresses, and to give up on a network that does not answer.

    Git itself is made to say why it failed.
    """
    if provider is Git:
        return _ExplainingGit
    if issubclass(provider, Local):
        return provider

    class Careful(provider):  # type: ignore[misc]
        def detect(self, source: str, ref: str | None = None, extra_args: object = None) -> Any:
            if is_git_address(source):
                return None
            return _within_deadline(lambda: provider.detect(self, source, ref=ref, extra_args=extra_args))

    Careful.__name__ = Careful.__qualname__ = provider.__name__
    return Careful


class _ExplainingGit(Git):  # type: ignore[misc]
    """Git, whose own last words become the reason."""

    def fetch(self, spec: dict[str, str], output_dir: str, yield_output: bool = False) -> Iterator[str]:
        said: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            for line in super().fetch(spec, output_dir, yield_output=yield_output):
                said.append(line)
                yield line
        except (subprocess.CalledProcessError, ContentProviderException, ValueError) as error:
            what = "git failed." if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise ContentProviderException("\n".join([what, *map(str.rstrip, said)])) from error


# What is picked is told by the class's name, and operators know this one.
_ExplainingGit.__name__ = _ExplainingGit.__qualname__ = "Git"


def _within_deadline(detect: Any) -> Any:
    found: list[Any] = []

    def run() -> None:
        # Whatever a provider raises here, it did not claim the address.
        with suppress(Exception):
            found.append(detect())

    # A daemon: one that hangs must not keep the build from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_DETECT_SECONDS)
    return found[0] if found else None
