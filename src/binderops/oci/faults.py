"""What a registry says went wrong; of distribution's "unknown error" the cause stands in the details only."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any

import httpx

_DISK = {
    errno.ENOSPC: "the registry's disk is full",
    errno.EDQUOT: "the registry's disk is full",
    errno.EROFS: "the registry's disk is read-only",
}
_WORDS = {"no space left on device": errno.ENOSPC, "read-only file system": errno.EROFS}


def errors_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The errors of an answer; none where its body is not of the registry's form."""
    try:
        return [dict(error) for error in json.loads(answer.content)["errors"]]
    except (ValueError, KeyError, TypeError):
        return []


def codes_of(answer: httpx.Response) -> set[str]:
    """The codes of its errors."""
    return {str(error.get("code")) for error in errors_of(answer)}


def reason_of(answer: httpx.Response) -> str:
    """Its errors in one line."""
    said = "; ".join(f"{error.get('code')}: {error.get('message')}" for error in errors_of(answer))
    return said[:500] or answer.text[:200]


def disk_fault_of(answer: httpx.Response) -> str | None:
    """That the registry cannot write, if that is what failed."""
    for error in errors_of(answer) if answer.status_code >= 500 else ():
        for found in _leaves(error.get("detail")):
            number = found if isinstance(found, int) else next((n for w, n in _WORDS.items() if w in str(found)), None)
            if number in _DISK:
                return _DISK[number]
    return None


def _leaves(detail: Any) -> Iterator[Any]:
    """Go's errors, as JSON: the number of the system's stands somewhere below, as `Err`."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            if isinstance(value, dict | str) or key == "Err":
                yield from _leaves(value)
    else:
        yield detail
