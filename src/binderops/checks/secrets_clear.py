"""Credentials in clear: in layers and charts by their look, and every opened credential's own text anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.checks import Finding
from binderops.checks.secrets_files import SecretFiles
from binderops.errors import GitError
from binderops.git import process
from binderops.secrets.finding import Finder
from binderops.secrets.formats import is_secret_path
from binderops.secrets.strength import estimated_bits, looks_like_credential, opens_by_name

_GIT_SECONDS = 120
_BATCH = 64 * 1024 * 1024
_LARGEST_FILE = 8 * 1024 * 1024
_LEAST_BITS = 30  # below, a literal under such a key is a placeholder or a word
_LOOKED_INTO = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class ClearLeaf:
    """One value of a layer that is not sealed."""

    path: tuple[str, ...]
    value: object
    where: str


def clear_layers(leaves: Iterable[ClearLeaf]) -> Iterator[Finding]:
    """What stands in a clear layer or in a chart's values and looks like a credential."""
    for leaf in leaves:
        if not isinstance(leaf.value, str) or not leaf.value.strip() or leaf.value.startswith("<secret "):
            continue
        by_name = opens_by_name(leaf.path) and estimated_bits(leaf.value) >= _LEAST_BITS
        if by_name or looks_like_credential(("value",), leaf.value):
            yield _clear(".".join(leaf.path), leaf.where)


def clear_files(files: SecretFiles) -> Iterator[Finding]:
    """Every opened credential's text, in whatever form, in all files of the repository that are not sealed."""
    finder = _finder(files)
    if not finder:
        return
    for path in repository_files(files.root):
        name = path.relative_to(files.root).as_posix()
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            continue
        for told, line in finder.search(path.read_bytes()):
            if not is_secret_path(name) or not _is_sealed_file(files, path):
                yield _clear(told, f"{name}:{line}")


def clear_objects(objects: Sequence[Mapping[str, Any]], files: SecretFiles) -> Iterator[Finding]:
    """Every opened credential's text in a rendered object that is no Secret: ConfigMaps, arguments, variables."""
    finder = _finder(files)
    for found in objects if finder else ():
        if found.get("kind") == "Secret":
            continue
        where = f"{found.get('kind')}/{(found.get('metadata') or {}).get('name')}"
        for told, _ in finder.search(json.dumps(found, ensure_ascii=False).encode()):
            yield Finding(
                "secrets.object",
                f"{told} stands in {where}",
                where,
                "whoever may read that object, or the pod's description, reads the credential",
                "let the chart put it into a Secret",
            )


def clear_history(files: SecretFiles, *, since: str | None) -> Iterator[Finding]:
    """Every opened credential's text in what git has stored since a commit (None: ever)."""
    finder = _finder(files)
    if not finder or not (files.root / ".git").exists():
        return
    seen: set[str] = set()
    for name, content in _blobs(files.root, since):
        for told, line in finder.search(content):
            if told not in seen:
                seen.add(told)
                yield Finding(
                    "secrets.history",
                    f"{told} stands in git's history",
                    f"{name}:{line}",
                    "whoever has a clone has it; taking it out of the files changes nothing",
                    "rotate it: binderops secrets rotate ENV KEY",
                )


def newest_commit(root: Path) -> str | None:
    """HEAD's commit, or None outside git."""
    try:
        return _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    except GitError:
        return None


def _finder(files: SecretFiles) -> Finder:
    return Finder({f"{one.path} of {file.owner}": one.secret for file, one in files.credentials})


def _clear(path: str, where: str) -> Finding:
    return Finding(
        "secrets.clear",
        f"{path} stands in clear",
        where,
        "whoever has the repository has it, and so does git's history",
        "move it to secret/config/ENV.yaml (binderops secrets set ENV KEY), under a new value",
    )


def _is_sealed_file(files: SecretFiles, path: Path) -> bool:
    return any(file.path == path and file.sealed for file in files.files)


def repository_files(root: Path) -> list[Path]:
    """What git tracks or would track, in order; every file where there is no git."""
    try:
        listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except GitError:
        return sorted(path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return sorted({root / name.decode(errors="surrogateescape") for name in listed.split(b"\0") if name})


def _blobs(root: Path, since: str | None) -> Iterator[tuple[str, bytes]]:
    excluded = [f"^{since}"] if since and _exists(root, since) else []
    listed = _git(root, "rev-list", "--objects", "--all", *excluded).decode(errors="replace")
    names = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    if not names:
        return
    described = _git(root, "cat-file", "--batch-check", give="\n".join(names).encode()).decode()
    wanted = [
        (identity, int(size))
        for identity, kind, size in (line.split()[:3] for line in described.splitlines() if len(line.split()) == 3)
        if kind == "blob" and int(size) <= _LARGEST_FILE
    ]
    for some in _batches(wanted):
        content = _git(root, "cat-file", "--batch", give="\n".join(some).encode())
        position = 0
        for identity in some:
            end = content.index(b"\n", position)
            size = int(content[position:end].split()[2])
            yield names[identity], content[end + 1 : end + 1 + size]
            position = end + 2 + size


def _batches(blobs: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Names of blobs, so many that their contents together stay below `_BATCH` or nearly."""
    some: list[str] = []
    total = 0
    for identity, size in blobs:
        some.append(identity)
        total += size
        if total > _BATCH:
            yield some
            some, total = [], 0
    if some:
        yield some


def _exists(root: Path, commit: str) -> bool:
    try:
        _git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def _git(root: Path, *arguments: str, give: bytes = b"") -> bytes:
    return process.output(root, *arguments, give=give, seconds=_GIT_SECONDS)
