"""Changing a sealed file: on a sealed copy, put in its place whole or not at all, one at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from binderops.errors import NotAReaderError, SecretsError, UsageError
from binderops.secrets import demonstration, sops
from binderops.secrets.layers import not_a_reader
from binderops.secrets.places import name_of
from binderops.secrets.rules import find_rules
from binderops.secrets.sealed import SealedFile, parse_sealed, read_sealed
from binderops.secrets.values import ClearText, reveal_bytes, reveal_for_helm, wrap

KeyPath = tuple[str, ...]
# Type `str` apart, None takes the key away; a value is JSON text in its clear form.
Change = tuple[KeyPath, ClearText | None]

_LOCK_SECONDS = 30.0


def json_value(value: Any) -> ClearText:
    """A value as `sops set` takes it."""
    return ClearText(json.dumps(value, ensure_ascii=False).encode())


def given_value(given: ClearText, *, as_json: bool) -> ClearText:
    """What came on standard input, as JSON text; as text, it loses one newline at its end."""
    if not len(given):
        raise UsageError("standard input is empty", hint="binderops secrets set ENV KEY < FILE")
    try:
        if as_json:
            return json_value(json.loads(reveal_bytes(given)))
        return json_value(reveal_bytes(given).decode().removesuffix("\n").removesuffix("\r"))
    except (ValueError, RecursionError):
        kind = "JSON" if as_json else "UTF-8 text"
    raise UsageError(f"standard input is not {kind}", hint="a binary file is sealed whole: binderops secrets seal FILE")


def change_values(path: Path, changes: Sequence[Change], *, root: Path) -> SealedFile:
    """Sets (or, for None, takes away) values; every other value keeps its ciphertext. Makes the file if need be."""
    name = name_of(root, path)
    if not path.exists():
        return _create(path, changes, name=name, root=root)
    with sealed_copy(path, name=name) as (copy, sealed):
        environment = demonstration.environment_for(sealed, path)
        for key, value in changes:
            if value is None:
                sops.unset_value(copy, key, name=name, environment=environment)
            else:
                set_in(copy, key, value, name=name, environment=environment)
    return read_sealed(path, name=name)


def set_in(
    file: Path, key: KeyPath, value: ClearText, *, name: str, environment: Mapping[str, str] | None = None
) -> None:
    """Sets one value in a sealed copy. sops takes no list as a value, so a list is set item by item."""
    items = _items(value)
    if items is None:
        sops.set_value(file, key, value, name=name, environment=environment)
        return
    if not items:
        raise UsageError(f"sops cannot set {'.'.join(key)} to an empty list", hint="binderops secrets edit ENV")
    plain = tuple(part.removeprefix("#") for part in key)
    present = parse_sealed(file.read_bytes(), name=name).lists.get(plain)
    if present is None:
        sops.unset_value(file, key, name=name, environment=environment)
    for index, item in enumerate(items):
        set_in(file, (*key, f"#{index}"), item, name=name, environment=environment)
    for index in reversed(range(len(items), present or 0)):
        sops.unset_value(file, (*key, f"#{index}"), name=name, environment=environment)


def seal_new(path: Path, clear: ClearText, *, root: Path) -> SealedFile:
    """Seals a file that does not exist yet, for the readers that its creation rule names."""
    name = name_of(root, path)
    rules = find_rules(path.parent if path.parent.exists() else root)
    if rules.path is None or not rules.covers(name):
        raise SecretsError(
            f"no creation rule of .sops.yaml fits {name}",
            where=str(rules.path or root / ".sops.yaml"),
            why="so nobody knows for whom to seal it",
            hint="binderops secrets readers ENV --add YOUR-KEY --name YOU",
        )
    content = sops.encrypt(clear, name=name, config=rules.path)
    write_whole(path, content)
    return parse_sealed(content, name=name)


@contextmanager
def sealed_copy(path: Path, *, name: str) -> Iterator[tuple[Path, SealedFile]]:
    """A copy to work on, and what it was; put in the file's place when the block ends without an error."""
    with locked(path.parent):
        before = read_sealed(path, name=name)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        copy = Path(temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(before.content)
            try:
                yield copy, before
            except NotAReaderError as error:
                raise not_a_reader(before, path, reason=error.why) from None
            content = copy.read_bytes()
            if content != before.content:
                parse_sealed(content, name=name)
                shutil.copymode(path, copy)
                _same_owner(path, copy)
                _synced(copy)
                copy.replace(path)
        finally:
            copy.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One change at a time in a folder, among all processes; waits for `_LOCK_SECONDS` at most."""
    import time

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    until = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise SecretsError(
                        "another command is changing sealed files", where=str(folder), hint="try again when it is done"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that holds nothing in clear, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    copy = Path(temporary)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if path.exists():
            shutil.copymode(path, copy)
            _same_owner(path, copy)
        else:
            copy.chmod(0o644)
            _same_owner(path.parent, copy)  # no root-owned file stays in somebody's clone
        _synced(copy)
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)


def key_path(text: str) -> KeyPath:
    r"""`a.b\.c.keys[0]` as a path: a dot in a key is escaped, `[0]` is an item of a list (kept as `#0`)."""
    parts: list[str] = []
    current = ""
    rest = text
    while rest:
        if rest.startswith("\\") and len(rest) > 1:
            current, rest = current + rest[1], rest[2:]
        elif rest[0] == ".":
            parts.append(current)
            current, rest = "", rest[1:]
        else:
            current, rest = current + rest[0], rest[1:]
    parts.append(current)
    found: list[str] = []
    for part in parts:
        name, *indices = part.split("[")
        found += [name, *(f"#{index.removesuffix(']')}" for index in indices)]
    if not all(found) or not all(part[1:].isdigit() for part in found if part.startswith("#")) or found[0] == "sops":
        raise UsageError(
            f"{text!r} is no key path", hint=r"write it as a.b.c; a dot in a key as a\.b; an item of a list as keys[0]"
        )
    return tuple(found)


def _create(path: Path, changes: Sequence[Change], *, name: str, root: Path) -> SealedFile:
    values: dict[str, Any] = {}
    for key, value in changes:
        if value is not None:
            _insert(values, key, value)
    return seal_new(path, yaml_of(values), root=root)


def _items(value: ClearText) -> list[ClearText] | None:
    found = wrap(json.loads(reveal_bytes(value)))
    return [json_value(reveal_for_helm(item)) for item in found] if isinstance(found, list) else None


def _insert(values: dict[str, Any], key: KeyPath, value: ClearText) -> None:
    *parents, last = key
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def yaml_of(values: Any) -> ClearText:
    """A tree whose leaves are JSON texts in ClearText, as YAML: JSON is YAML, so each leaf stands as it is."""
    return ClearText(("\n".join(_yaml_lines(values, 0)) + "\n").encode())


def _yaml_lines(values: dict[str, Any], depth: int) -> Iterator[str]:
    for key, value in values.items():
        shown = f"{'    ' * depth}{json.dumps(key, ensure_ascii=False)}:"
        if isinstance(value, dict):
            yield shown
            yield from _yaml_lines(value, depth + 1)
        else:
            yield f"{shown} {reveal_bytes(value).decode()}"


def _same_owner(like: Path, path: Path) -> None:
    if os.geteuid() == 0:
        found = like.stat()
        os.chown(path, found.st_uid, found.st_gid)


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
