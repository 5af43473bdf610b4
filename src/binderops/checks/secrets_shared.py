"""No credential stands in two environments: by the values where both open, else by the slow digests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from binderops.checks import Finding
from binderops.checks.secrets_files import SecretFile, SecretFiles
from binderops.errors import SecretsError
from binderops.secrets.places import digests_file, name_of
from binderops.secrets.sharing import (
    Candidate,
    Digested,
    comparable,
    digest_key,
    is_stale,
    read_digests,
    slow_digests,
)

_HINT = (
    "give each its own: binderops secrets rotate {environment} {path}; the value is to be thought of as known to both"
)


def shared(files: SecretFiles) -> Iterator[Finding]:
    """Credentials that two owners have; digests that are missing, stale or wrong."""
    yield from _opened(files)
    entries: dict[str, tuple[Digested, ...]] = {}
    for environment in files.environments:
        try:
            entries[environment] = read_digests(files.root, environment)
        except SecretsError as error:
            yield Finding("secrets.digests", error.what, error.where or "", error.why or "", error.hint or "")
    yield from _stale(files, entries)
    closed = [name for name in files.environments if not files.opened(name)]
    yield from _both_closed(files, closed, entries)
    if closed and len(closed) < len(files.environments):
        yield from _against_closed(files, closed, entries)


def wrong_digests(files: SecretFiles) -> Iterator[Finding]:
    """Digests that stand beside a file and are not of its values, counted anew for each file that opens."""
    for environment in files.environments:
        entries = {(one.path, one.sealed): one.digest for one in read_digests(files.root, environment)}
        own = [one for file in files.of(environment) for one in file.credentials if (one.path, one.sealed) in entries]
        if not own:
            continue
        try:
            counted = slow_digests([one.secret for one in own], digest_key(files.root))
        except SecretsError:
            return
        for one, digest in zip(own, counted, strict=True):
            if entries[one.path, one.sealed] != digest:
                yield Finding(
                    "secrets.digests",
                    f"the digest of {one.path} is not of its value",
                    name_of(files.root, digests_file(files.root, environment)),
                    "a reader of another environment would not see that the value is used twice",
                    "delete the file and run binderops secrets check; find out who wrote it",
                )


def _opened(files: SecretFiles) -> Iterator[Finding]:
    found: dict[bytes, list[tuple[SecretFile, Candidate]]] = {}
    for file, one in files.credentials:
        found.setdefault(comparable(one.secret), []).append((file, one))
    for same in found.values():
        for (file, one), (other_file, other) in combinations(same, 2):
            if file.owner != other_file.owner:
                yield _finding(one.path, one.where, other_file.owner, f"{other.where} ({other.path})", file.owner)


def _stale(files: SecretFiles, entries: dict[str, tuple[Digested, ...]]) -> Iterator[Finding]:
    for environment in files.environments:
        own = [file.sealed for file in files.of(environment) if file.sealed]
        if environment in entries and is_stale(own, entries[environment]):
            yield Finding(
                "secrets.digests",
                f"the digests of {environment} are not of what lies there now",
                name_of(files.root, digests_file(files.root, environment)),
                "who reads another environment cannot check against it",
                f"one of its readers runs: binderops secrets check (readers of {environment} can open it)",
            )


def _both_closed(files: SecretFiles, closed: list[str], entries: dict[str, tuple[Digested, ...]]) -> Iterator[Finding]:
    for one, other in combinations(closed, 2):
        mine = {entry.digest: entry.path for entry in entries.get(one, ()) if entry.digest}
        for entry in entries.get(other, ()):
            if entry.digest in mine:
                yield _finding(mine[entry.digest], one, other, f"{other}: {entry.path}", one)


def _against_closed(
    files: SecretFiles, closed: list[str], entries: dict[str, tuple[Digested, ...]]
) -> Iterator[Finding]:
    own = [(file, one) for file, one in files.credentials if file.owner not in closed]
    if not own or not any(entries.get(name) for name in closed):
        return
    try:
        counted = slow_digests([one.secret for _, one in own], digest_key(files.root))
    except SecretsError as error:
        yield Finding(
            "secrets.digests",
            "the key of the digests cannot be opened: nothing was checked against " + ", ".join(closed),
            error.where or "",
            error.why or "",
            "a reader of every environment runs: binderops secrets check",
        )
        return
    for (file, one), digest in zip(own, counted, strict=True):
        for name in closed:
            for entry in entries.get(name, ()):
                if entry.digest == digest:
                    yield _finding(one.path, one.where, name, f"{name}: {entry.path}", file.owner)


def _finding(path: str, where: str, other: str, other_where: str, owner: str) -> Finding:
    return Finding(
        "secrets.shared",
        f"{path} of {owner} is used in {other} too",
        f"{where}, {other_where}",
        "who learns it in one environment is in the other one as well",
        _HINT.format(environment=owner, path=path),
    )
