"""What the actions on secrets answer. No field ever holds a value."""

from __future__ import annotations

from datetime import datetime

from binderops.delivery.results import Result


class KeyInfo(Result):
    """One key of a sealed file: its path, type and place, what it is for, and when it last changed."""

    path: str
    type: str
    where: str
    purpose: str = ""
    changed: datetime | None = None


class KeysResult(Result):
    """Every key of an environment's sealed file, and those that its components need and it does not have."""

    environment: str
    file: str
    keys: tuple[KeyInfo, ...]
    missing: tuple[KeyInfo, ...]


class ChangeResult(Result):
    """What a change did to a sealed file; `restarts` names the apps that take the new values at the next deploy."""

    environment: str
    file: str
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ReaderInfo(Result):
    """One reader: name and key, which files it opens, and whether the key is at hand here."""

    name: str
    key: str
    files: tuple[str, ...]
    reason: str = ""
    yours: bool = False
    demonstration: bool = False


class ReadersResult(Result):
    """Who opens what, what was changed, and what a removal does not undo."""

    readers: tuple[ReaderInfo, ...]
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ImportedFile(Result):
    """One file that was sealed anew."""

    source: str
    file: str
    keys: int
    readers: tuple[str, ...]


class ImportResult(Result):
    """What came over from git-crypt, and what must be rotated, since git's history keeps it."""

    files: tuple[ImportedFile, ...]
    rotate: tuple[str, ...]
    notes: tuple[str, ...]


class KeyResult(Result):
    """A new key: the file of its secret half, and its public half."""

    file: str
    recipient: str


class MergeResult(Result):
    """A three-way merge: keys taken from theirs, keys that both changed; or, after an installation, files written."""

    file: str
    changed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class FindingInfo(Result):
    """One finding of a check."""

    id: str
    what: str
    where: str
    why: str
    hint: str


class CheckResult(Result):
    """The verdict on the secrets of all environments; `opened` says which files the keys at hand open."""

    findings: tuple[FindingInfo, ...]
    opened: tuple[str, ...]
    closed: tuple[str, ...]
    checked: int
    seconds: float
