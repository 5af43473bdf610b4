"""`secrets keys | set | generate | rotate`: one environment's values, by key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_results import ChangeResult, KeyInfo, KeysResult
from binderops.errors import UsageError
from binderops.secrets.ages import changed_at
from binderops.secrets.generating import Needed, generate, random_text
from binderops.secrets.sealed import SealedFile
from binderops.secrets.sharing import refresh_digests
from binderops.secrets.values import ClearText
from binderops.secrets.writing import Change, KeyPath, change_values


def list_keys(place: SecretsPlace) -> KeysResult:
    """Paths, types and ages; never a value. Needs no key."""
    sealed = place.sealed()
    times = changed_at(place.file)
    keys = []
    for leaf in sealed.leaves:
        purpose = place.purpose(leaf.path)
        keys.append(
            KeyInfo(
                path=".".join(leaf.path),
                type=leaf.kind,
                where=f"{place.name}:{leaf.line}",
                purpose=purpose.purpose if purpose else "",
                changed=times.get(leaf.line),
            )
        )
    missing = tuple(
        KeyInfo(path=".".join(needed.path), type=needed.form, where=place.name, purpose=needed.purpose)
        for needed in missing_secrets(place, sealed)
    )
    return KeysResult(environment=place.environment, file=place.name, keys=tuple(keys), missing=missing)


def missing_secrets(place: SecretsPlace, sealed: SealedFile | None) -> list[Needed]:
    """What the enabled components need and the file does not have."""
    present = set() if sealed is None else {path for leaf in sealed.leaves for path in _prefixes(leaf.path)}
    return [needed for needed in place.needed if needed.path not in present]


def generate_missing(place: SecretsPlace, *, now: datetime) -> ChangeResult:
    """Makes what is missing; what is there stays as it is. Makes the sealed file where there is none."""
    sealed = place.sealed() if place.file.exists() else None
    wanted = missing_secrets(place, sealed)
    if not wanted:
        return ChangeResult(environment=place.environment, file=place.name, notes=("nothing is missing",))
    return _apply(place, _generated(wanted, now=now))


def set_key(place: SecretsPlace, key: KeyPath, value: ClearText) -> ChangeResult:
    """Sets one value, given as JSON text."""
    return _apply(place, [(key, value)])


def unset_key(place: SecretsPlace, key: KeyPath) -> ChangeResult:
    """Takes one key away."""
    return _apply(place, [(key, None)])


def rotate_key(place: SecretsPlace, key: KeyPath, *, now: datetime) -> ChangeResult:
    """A new value for a key that binderops generates; raises UsageError for one that somebody else gives."""
    sealed = place.sealed()
    paths = {path for leaf in sealed.leaves for path in _prefixes(leaf.path)}
    plain = tuple(part.removeprefix("#") for part in key)
    if plain not in paths:
        raise UsageError(
            f"{place.name} has no key {'.'.join(plain)}",
            where=place.name,
            hint=f"binderops secrets keys {place.environment} lists them",
        )
    needed = place.purpose(key)
    if needed is not None:
        return _apply(place, generate(needed, now=now))
    kind = next((leaf.kind for leaf in sealed.leaves if leaf.path == plain), "")
    if kind != "str":
        raise UsageError(
            f"{'.'.join(plain)} cannot be rotated as a whole",
            why="it is no text",
            hint="binderops secrets set, or edit",
        )
    result = _apply(place, [(key, random_text())])
    note = "the charts do not know this key: whoever else uses the old value must be given the new one"
    return result.model_copy(update={"notes": (*result.notes, note)})


def _generated(wanted: Sequence[Needed], *, now: datetime) -> list[Change]:
    made: dict[KeyPath, Change] = {}
    for needed in wanted:
        if needed.path not in made:
            made.update({change[0]: change for change in generate(needed, now=now)})
    return list(made.values())


def _apply(place: SecretsPlace, changes: Sequence[Change]) -> ChangeResult:
    if place.file.exists():
        place.sealed()
    change_values(place.file, changes, root=place.root)
    notes = list(refresh_digests(place.root, place.environment))
    known = [found for key, _ in changes if (found := place.purpose(key))]
    notes += [f"{'.'.join(found.path)}: {found.effect}" for found in known if found.effect]
    return ChangeResult(
        environment=place.environment,
        file=place.name,
        changed=tuple(".".join(key) for key, value in changes if value is not None),
        removed=tuple(".".join(key) for key, value in changes if value is None),
        restarts=tuple(sorted({app for found in known for app in found.restarts})),
        notes=tuple(notes),
    )


def _prefixes(path: KeyPath) -> list[KeyPath]:
    return [path[: length + 1] for length in range(len(path))]
