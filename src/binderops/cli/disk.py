"""A disk that takes no more, or nothing any more, told as an error of ours: what, where, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from binderops.errors import BinderOpsError, MachineError

_NAMES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full (a quota)",
    errno.EROFS: "the disk is read-only",
}
_WORDS = ("no space left on device", "disk is full", "read-only file system", "disk quota exceeded")


def with_disk_named(error: BaseException) -> BinderOpsError | None:
    """The error to show for what was raised, in a group too; None for what is neither of ours nor a disk's."""
    for each in _members(error):
        if isinstance(each, OSError) and each.errno in _NAMES:
            where = str(each.filename2 or each.filename or "")
            return MachineError(_NAMES[each.errno], where=where or None, why=each.strerror, hint=_hint(where))
    if isinstance(error, BinderOpsError):
        text = f"{error.what} {error.why}".lower()
        if error.hint is None and any(words in text for words in _WORDS):
            error.hint = _hint("")
        return error
    return None


def _members(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _members(each)
    else:
        yield error


def _hint(where: str) -> str:
    return f"make room (df -h {where}".rstrip() + "), then run the command again: it goes on from here"
