"""Git's three-way merge of sealed files, key by key. What cannot be merged stays as ours, sealed and whole.

Values are compared opened and set by sops, so that every value that nobody touched keeps its ciphertext. Lists are one
value. Readers merge as sets; comments are ours.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from binderops.errors import GitError
from binderops.git import process
from binderops.secrets import demonstration, sops
from binderops.secrets.formats import SECRET_FOLDERS, Format
from binderops.secrets.places import DIGESTS_SUFFIX
from binderops.secrets.sealed import SealedFile, parse_sealed
from binderops.secrets.values import ClearText, Secret, reveal_bytes, reveal_for_helm, wrap
from binderops.secrets.writing import KeyPath, json_value, set_in, write_whole

DRIVER = "binderops-secrets"
_GIT_SECONDS = 30
_Leaf = Secret | list[Any] | None


@dataclass
class Merge:
    """What came of it: keys that were taken from theirs, and those that both changed to different values."""

    taken: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(base: Path, ours: Path, theirs: Path, *, name: str, root: Path) -> Merge:
    """Merges `theirs` into the file `ours`; `name` is the file's own, since git gives temporary ones."""
    if name.endswith(DIGESTS_SUFFIX):
        return _merge_digests(ours, theirs)
    sealed = {file: _sealed(file, name=name) for file in (base, ours, theirs)}
    mine, other = sealed[ours], sealed[theirs]
    if mine is None or other is None:
        return Merge(conflicts=[name], notes=["one side removed the file"])
    found = Merge()
    opened = {file: _opened(one, root / name) if one else {} for file, one in sealed.items()}
    with_suffix = ours.with_name(f".{ours.name}-merged{Path(name).suffix}")
    try:
        with_suffix.write_bytes(mine.content)
        environment = demonstration.environment_for(mine, root / name)
        for path in dict.fromkeys([*opened[base], *opened[ours], *opened[theirs]]):
            before, own, new = (opened[file].get(path, _ABSENT) for file in (base, ours, theirs))
            if new in (before, own):
                continue
            if own != before:
                found.conflicts.append(".".join(path))
            elif new is _ABSENT:
                sops.unset_value(with_suffix, path, name=name, environment=environment)
                found.taken.append(".".join(path))
            else:
                value = json_value(reveal_for_helm(new))
                set_in(with_suffix, path, value, name=name, environment=environment)
                found.taken.append(".".join(path))
        _merge_readers(with_suffix, sealed[base], mine, other, name=name, environment=environment, found=found)
        if with_suffix.read_bytes() != mine.content:
            ours.write_bytes(with_suffix.read_bytes())
    finally:
        with_suffix.unlink(missing_ok=True)
    return found


def install(root: Path, program: str) -> tuple[str, ...]:
    """Makes git use the driver in this clone (`.git/config`) and in everybody's (`.gitattributes`)."""
    command = f"{shlex.quote(program)} secrets merge-driver %O %A %B %P"
    for setting, value in (("name", "sealed files, by key (binderops)"), ("driver", command)):
        _git(root, "config", f"merge.{DRIVER}.{setting}", value)
    attributes = root / ".gitattributes"
    present = attributes.read_text(encoding="utf-8") if attributes.exists() else ""
    wanted = [f"{folder}/** merge={DRIVER}" for folder in SECRET_FOLDERS if (root / folder).is_dir()]
    missing = [line for line in wanted if line not in present.splitlines()]
    if missing:
        write_whole(
            attributes,
            (present + ("" if present.endswith("\n") or not present else "\n")).encode()
            + "".join(f"{line}\n" for line in missing).encode(),
        )
    return (".git/config", *([".gitattributes"] if missing else []))


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"


_ABSENT: Any = _Absent()


def _sealed(file: Path, *, name: str) -> SealedFile | None:
    content = file.read_bytes() if file.exists() else b""
    return parse_sealed(content, name=name) if content.strip() else None


def _opened(sealed: SealedFile, path: Path) -> dict[KeyPath, Any]:
    environment = demonstration.environment_for(sealed, path)
    if sealed.format is Format.binary:
        clear = sops.decrypt(sealed.content, name=sealed.name, environment=environment)
        return {("data",): Secret(reveal_bytes(clear).decode("utf-8", "surrogateescape"))}
    return _flat(sops.decrypt(sealed.content, name=sealed.name, output=Format.json, environment=environment))


def _flat(clear: ClearText) -> dict[KeyPath, Any]:
    leaves: dict[KeyPath, Any] = {}
    _collect(wrap(json.loads(reveal_bytes(clear))), (), leaves)
    return leaves


def _collect(tree: Any, path: KeyPath, leaves: dict[KeyPath, Any]) -> None:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            _collect(value, (*path, key), leaves)
    else:
        leaves[path] = tree


def _merge_readers(
    file: Path,
    base: SealedFile | None,
    ours: SealedFile,
    theirs: SealedFile,
    *,
    name: str,
    environment: Mapping[str, str] | None,
    found: Merge,
) -> None:
    before = set(base.recipients) if base else set()
    added = [one for one in theirs.recipients if one not in before and one not in ours.recipients]
    gone = [one for one in ours.recipients if one in before and one not in theirs.recipients]
    if added or gone:
        sops.rotate(file, name=name, add=added, remove=gone, environment=environment)
        found.notes.append("readers changed: sealed under a new data key")


def _merge_digests(ours: Path, theirs: Path) -> Merge:
    """Entries of both: `secrets check` throws out those that are of no text of the merged file."""
    reader = YAML(typ="rt")
    mine, other = (reader.load(file.read_text(encoding="utf-8")) for file in (ours, theirs))
    present = {(item["path"], item["sealed"]) for item in mine["digests"]}
    mine["digests"] += [item for item in other["digests"] if (item["path"], item["sealed"]) not in present]
    written = StringIO()
    reader.width = 200
    reader.dump(mine, written)
    ours.write_text(written.getvalue(), encoding="utf-8")
    return Merge(notes=["run binderops secrets check"])


def _git(root: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**process.environment(), "HOME": os.environ.get("HOME", "/nonexistent")},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise GitError("git did not answer", where=str(root)) from None
    if done.returncode != 0:
        raise GitError("git refused", where=str(root), why=done.stderr.strip()[:300])
