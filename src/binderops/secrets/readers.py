"""Who reads which sealed file: the rules and the files kept alike, and what is sealed anew when a reader goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from binderops.errors import NotAReaderError, UsageError
from binderops.secrets import demonstration, sops
from binderops.secrets.identities import is_recipient
from binderops.secrets.layers import not_a_reader
from binderops.secrets.places import environment_file, environments_with_secrets, name_of, owned_files
from binderops.secrets.rules import RULES_FILE, Reader, find_rules, load_rules
from binderops.secrets.sealed import read_sealed
from binderops.secrets.sharing import update_key_readers
from binderops.secrets.writing import sealed_copy, write_whole


def readers_of_files(root: Path) -> Mapping[str, tuple[str, ...]]:
    """Key -> the files that it opens."""
    found: dict[str, list[str]] = {}
    for environment in environments_with_secrets(root):
        for path in owned_files(root, environment):
            for recipient in read_sealed(path, name=name_of(root, path)).recipients:
                found.setdefault(recipient, []).append(name_of(root, path))
    return {key: tuple(names) for key, names in found.items()}


def add_reader(root: Path, environment: str, reader: Reader) -> tuple[str, ...]:
    """Lets a key read an environment; the names of the files that were sealed for it too. Needs a reader's key."""
    if not is_recipient(reader.key):
        raise UsageError(
            "that is no age recipient",
            why="a recipient is public and begins with age1, ssh-ed25519 or ssh-rsa",
            hint="binderops secrets new-key makes a key and prints its recipient",
        )
    rules = find_rules(root)
    if rules.path is None:
        rules = load_rules(root / RULES_FILE)
    for other in rules.readers:
        if other.name == reader.name and other.key != reader.key and reader.name:
            raise UsageError(
                f"another key is {reader.name}'s already", where=RULES_FILE, hint="give this one a name of its own"
            )
    for name in _names(root, environment):
        if not rules.covers(name):
            rules.with_rule(name, (reader.key,))
        rules.add(name, reader)
    return _apply(root, environment, rules.text(), renew=False)


def remove_reader(root: Path, environment: str, key: str) -> tuple[str, ...]:
    """Takes a key away: out of the rules, and every file of the environment sealed under a new data key."""
    rules = find_rules(root)
    for name in _names(root, environment):
        if key not in rules.recipients(name):
            raise UsageError(
                f"{rules.named(key)} does not read {name}",
                where=RULES_FILE,
                hint=f"binderops secrets readers {environment} lists who does",
            )
        rules.remove(name, key)
    return _apply(root, environment, rules.text(), renew=True)


def _names(root: Path, environment: str) -> list[str]:
    paths = owned_files(root, environment) or (environment_file(root, environment),)
    return [name_of(root, path) for path in paths]


def _apply(root: Path, environment: str, rules: str, *, renew: bool) -> tuple[str, ...]:
    """The files first, by the new rules, then the rules: where a file cannot be opened, nothing is changed."""
    changed = []
    with tempfile.TemporaryDirectory(prefix="binderops-readers-") as folder:
        scratch = Path(folder)
        (scratch / RULES_FILE).write_text(rules, encoding="utf-8")
        resealed: list[tuple[Path, Path]] = []
        for path in owned_files(root, environment):
            name = name_of(root, path)
            copy = scratch / name  # updatekeys reads the rules by the file's path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            before = read_sealed(path, name=name)
            known = demonstration.environment_for(before, path)
            try:
                sops.update_keys(copy, name=name, config=scratch / RULES_FILE, environment=known)
                if renew:
                    sops.rotate(copy, name=name, environment=known)
            except NotAReaderError as error:
                raise not_a_reader(before, path, reason=error.why) from None
            resealed.append((path, copy))
        for path, copy in resealed:
            with sealed_copy(path, name=name_of(root, path)) as (working, present):
                if copy.read_bytes() != present.content:
                    working.write_bytes(copy.read_bytes())
                    changed.append(name_of(root, path))
    write_whole(root / RULES_FILE, rules.encode())
    # The first reader of another environment does not open that key: who does lets them in by the next change or check.
    with suppress(NotAReaderError):
        if update_key_readers(root):
            changed.append("the key of the digests")
    return tuple(changed)
