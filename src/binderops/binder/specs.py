"""The repository that a path names, cut from the raw path: what a visitor percent-encoded stays encoded."""

from __future__ import annotations

import re
from typing import NamedTuple


class Request(NamedTuple):
    """A provider's prefix, and the spec as it stands in the path."""

    prefix: str
    spec: str


# Longer ones are nobody's link; they would only fill logs and names.
_LONGEST = 2048
_ODD = re.compile(r"[\x00-\x20\x7f]")


def cut(raw_path: bytes, base_url: str, route: str) -> Request | None:
    """What follows `{base_url}{route}/` in a raw request path (`/build/gh/user/repo/ref`), or None.

    The framework's own path parameters are decoded: `foo%2Fbar/ref` would become another spec.
    """
    path = raw_path.decode("ascii", errors="replace").partition("?")[0]
    start = f"{base_url}{route}/"
    prefix, slash, spec = path.removeprefix(start).partition("/")
    if not path.startswith(start) or not slash or not prefix or not spec:
        return None
    if len(spec) > _LONGEST or _ODD.search(spec):
        return None
    return Request(prefix, spec)
