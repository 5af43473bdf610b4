"""The sealed files of a repository, each read once, and opened where a key is at hand: what the checks look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from binderops.errors import NotAReaderError, SecretsError
from binderops.secrets.layers import OpenedLayer, open_layer
from binderops.secrets.places import (
    common_files,
    digest_key_file,
    environment_file,
    environments_with_secrets,
    name_of,
    other_sealed_files,
    owner_of,
)
from binderops.secrets.rules import Rules, find_rules
from binderops.secrets.sealed import SealedFile, read_sealed
from binderops.secrets.sharing import Candidate, candidates

COMMON_OWNER = "common"


@dataclass(frozen=True)
class SecretFile:
    """One file: whose it is, what it tells without a key, what it holds where a key opens it, and what is wrong."""

    path: Path
    name: str
    owner: str
    sealed: SealedFile | None
    layer: OpenedLayer | None
    error: SecretsError | None

    @property
    def is_closed(self) -> bool:
        """Whether it is in order but none of the keys at hand opens it."""
        return self.layer is None and isinstance(self.error, NotAReaderError)

    @property
    def credentials(self) -> tuple[Candidate, ...]:
        """What opens something, of an opened file."""
        return tuple(one for one in candidates(self.layer) if one.is_credential) if self.layer else ()


@dataclass(frozen=True)
class SecretFiles:
    """All of them; `environments` are those with a sealed file, with whether their target is on this machine."""

    root: Path
    rules: Rules
    files: tuple[SecretFile, ...]
    environments: Mapping[str, bool]

    def of(self, environment: str) -> tuple[SecretFile, ...]:
        """The files of one environment."""
        return tuple(file for file in self.files if file.owner == environment)

    def opened(self, environment: str) -> bool:
        """Whether every file of an environment could be opened."""
        own = self.of(environment)
        return bool(own) and all(file.layer for file in own)

    @property
    def credentials(self) -> Iterator[tuple[SecretFile, Candidate]]:
        """Every credential of every opened file."""
        return ((file, one) for file in self.files for one in file.credentials)


def read_secret_files(root: Path, on_this_machine: Mapping[str, bool]) -> SecretFiles:
    """Reads and opens what can be opened, side by side. An environment that is not named counts as one elsewhere,
    a file that is no environment's as one for here.
    """
    names = environments_with_secrets(root)
    paths = [(environment_file(root, name), name) for name in names]
    paths += [(path, COMMON_OWNER) for path in common_files(root)]
    paths += [(path, owner_of(root, path, names) or name_of(root, path)) for path in other_sealed_files(root)]
    if (key := digest_key_file(root)).exists():
        paths.append((key, name_of(root, key)))
    here = {name: on_this_machine.get(name, False) for name in names}
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="sops") as pool:
        files = tuple(pool.map(lambda pair: _read(root, pair[0], pair[1], here.get(pair[1], True)), paths))
    return SecretFiles(root, find_rules(root), files, here)


def _read(root: Path, path: Path, owner: str, here: bool) -> SecretFile:
    name = name_of(root, path)
    sealed: SealedFile | None = None
    try:
        sealed = read_sealed(path, name=name)
        return SecretFile(path, name, owner, sealed, open_layer(path, name=name, on_this_machine=here), None)
    except SecretsError as error:
        return SecretFile(path, name, owner, sealed, None, error)
