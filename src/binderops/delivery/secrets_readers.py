"""`secrets readers`: who opens what; adding and removing, and what a removal does not undo."""

from __future__ import annotations

from pathlib import Path

from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_results import ReaderInfo, ReadersResult
from binderops.delivery.secrets_values import list_keys
from binderops.errors import UsageError
from binderops.secrets.demonstration import is_demonstration_key
from binderops.secrets.identities import recipients_at_hand
from binderops.secrets.readers import add_reader, readers_of_files, remove_reader
from binderops.secrets.rules import Reader, find_rules
from binderops.secrets.sharing import refresh_digests


def list_readers(
    root: Path, *, environment: str | None = None, changed: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> ReadersResult:
    """Every key with its name and the files that it opens."""
    rules = find_rules(root)
    own = set(recipients_at_hand())
    told = []
    for key, files in readers_of_files(root).items():
        if environment is not None and not any(environment in name for name in files):
            continue
        named = rules.reader(key)
        told.append(
            ReaderInfo(
                name=named.name if named else "",
                key=key,
                files=files,
                reason=named.reason if named else "",
                yours=key in own,
                demonstration=is_demonstration_key(key),
            )
        )
    return ReadersResult(readers=tuple(told), changed=changed, notes=notes)


def add(place: SecretsPlace, key: str, *, name: str, reason: str) -> ReadersResult:
    """Lets a key read an environment."""
    if not name:
        raise UsageError(
            "whose key is it?", why="readers have names, so that one can be found again", hint="--name ana"
        )
    if is_demonstration_key(key) and not place.on_this_machine:
        raise UsageError(
            "a demonstration key is public", why=f"the target of {place.environment} is not on this machine"
        )
    if place.file.exists():
        place.sealed()
    before = _environments_of(place.root, key)
    changed = add_reader(place.root, place.environment, Reader(name, key, reason))
    notes = list(refresh_digests(place.root, place.environment)) if changed else []
    others = sorted(before - {place.environment})
    if others and not reason:
        notes.append(f"{name} reads {', '.join(others)} too: a finding of `secrets check`, unless --reason says why")
    if not place.file.exists():
        notes.append(f"there is no {place.name} yet: binderops secrets generate {place.environment}")
    return list_readers(place.root, environment=place.environment, changed=changed, notes=tuple(notes))


def remove(place: SecretsPlace, word: str) -> ReadersResult:
    """Takes a reader away, by name or key; seals the environment's files under a new data key."""
    found = find_rules(place.root).reader(word)
    key = found.key if found else word
    place.sealed()
    changed = remove_reader(place.root, place.environment, key)
    refreshed = refresh_digests(place.root, place.environment)
    keys = ", ".join(info.path for info in list_keys(place).keys if info.type == "str")
    notes = (
        *refreshed,
        "git's history still holds what that key opens, and so may their disk: rotate every value that they must not "
        "know any more (binderops secrets rotate)",
        f"what they could read: {keys}",
        "the key of the digests stays the same: they can still test guesses against old digests, one scrypt a guess",
    )
    return list_readers(place.root, environment=place.environment, changed=changed, notes=notes)


def _environments_of(root: Path, key: str) -> set[str]:
    return {Path(name).stem for name in readers_of_files(root).get(key, ())}
