"""Nothing shared: slow digests of each environment's credentials, by which a reader of one checks against the others.

Beside `secret/config/ENV.yaml` stands `ENV.digests.yaml`, in clear: for each sealed text, a digest of its ciphertext
(which tells whether the entry is of the value that lies there now) and, where the value is a credential, scrypt of the
value under a key that all environments share. That key is sealed to the readers of every environment. So a reader of
staging learns whether a value that he has, or guesses, stands in prod too, for one scrypt a guess, and nothing else;
somebody without any key sees only that two digests are equal.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from binderops.errors import SecretsError
from binderops.secrets import demonstration, sops
from binderops.secrets.formats import Format
from binderops.secrets.layers import OpenedLayer, open_layers
from binderops.secrets.places import (
    digest_key_file,
    digests_file,
    environment_file,
    environments_with_secrets,
    name_of,
    owned_files,
)
from binderops.secrets.rules import find_rules
from binderops.secrets.sealed import KeyPath, SealedFile, read_sealed
from binderops.secrets.strength import canonical, estimated_bits, looks_like_credential
from binderops.secrets.values import ClearText, Secret, reveal, reveal_bytes, secrets_in, wrap
from binderops.secrets.writing import locked, sealed_copy, write_whole

# About 0.1 s and 48 MiB a guess on a server's core of 2020; a bench holds it above 50 ms.
SCRYPT = {"n": 2**15, "r": 12, "p": 1}
_PROCESS_KEY: Final = os.urandom(32)
_DIGEST_BYTES = 16
_KEY_BYTES = 32
_BOOLEAN_WORDS = frozenset({"yes", "no", "on", "off", "y", "n"})
_NO_CREDENTIAL = "none"
_HEADER = """\
# Made by binderops: slow digests of this environment's credentials, so that a reader of another environment can tell
# whether one is used there too (docs/operate/secrets.md). The key of the digests is sealed in digests.key.
"""


@dataclass(frozen=True)
class Digested:
    """One entry: of which ciphertext, and the slow digest; None where the value opens nothing."""

    path: str
    sealed: str
    digest: str | None


@dataclass(frozen=True)
class Candidate:
    """One text of an opened file: where it stands, its ciphertext's digest, and whether it opens something."""

    path: str
    where: str
    sealed: str
    secret: Secret
    is_credential: bool


def slow_digests(values: Sequence[Secret], key: ClearText) -> list[str]:
    """Scrypt of each value's canonical form, side by side on all cores."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="scrypt") as pool:
        return list(pool.map(lambda value: _scrypt(value, key).hex(), values))


def read_digests(root: Path, environment: str) -> tuple[Digested, ...]:
    """The entries beside an environment's sealed file; none where there is no such file, or its cost is another."""
    path = digests_file(root, environment)
    name = name_of(root, path)
    if not path.exists():
        return ()
    try:
        found = YAML(typ="safe", pure=False).load(path.read_text(encoding="utf-8"))
        if found["scrypt"] != SCRYPT:
            return ()
        entries = [(str(item["path"]), str(item["sealed"]), str(item["digest"])) for item in found["digests"]]
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise SecretsError(
            f"{name} is not what binderops writes",
            where=name,
            hint="delete it; `binderops secrets check` makes it anew",
        ) from None
    return tuple(Digested(path, sealed, None if told == _NO_CREDENTIAL else told) for path, sealed, told in entries)


def is_stale(files: Iterable[SealedFile], entries: Iterable[Digested]) -> bool:
    """Whether the entries are of other texts than those that lie in the files now. Needs no key."""
    return {digest for sealed in files for digest in _text_digests(sealed)} != {entry.sealed for entry in entries}


def refresh_digests(root: Path, environment: str) -> tuple[str, ...]:
    """Brings an environment's digests up to its sealed files, counting only what changed; notes where it cannot."""
    paths = owned_files(root, environment)
    try:
        entries = read_digests(root, environment)
        if not is_stale([read_sealed(path, name=name_of(root, path)) for path in paths], entries):
            return ()
        layers = open_layers(paths, names=[name_of(root, path) for path in paths])
        update_key_readers(root)
        write_digests(root, environment, layers, key=digest_key(root), known=entries)
    except SecretsError as error:
        return (f"the digests of {environment} are not up to date: {error.what}",)
    return ()


def write_digests(
    root: Path, environment: str, layers: Sequence[OpenedLayer], *, key: ClearText, known: Iterable[Digested] = ()
) -> None:
    """Writes the digests of an environment's opened files; `known` entries are not counted again."""
    found = [candidate for layer in layers for candidate in candidates(layer)]
    kept = {(entry.path, entry.sealed): entry.digest for entry in known}
    new = [one for one in found if one.is_credential and (one.path, one.sealed) not in kept]
    counted = dict(zip((one.path for one in new), slow_digests([one.secret for one in new], key), strict=True))
    told = [
        {
            "path": one.path,
            "sealed": one.sealed,
            "digest": kept.get((one.path, one.sealed)) or counted.get(one.path) or _NO_CREDENTIAL,
        }
        for one in found
    ]
    written = StringIO()
    writer = YAML()
    writer.width = 200
    writer.dump({"scrypt": dict(SCRYPT), "digests": told}, written)
    write_whole(digests_file(root, environment), (_HEADER + written.getvalue()).encode())


def candidates(layer: OpenedLayer) -> list[Candidate]:
    """Every text of an opened file; a binary file (a kubeconfig, a key) is looked into."""
    prefix = "" if "/config/" in f"/{layer.name}" and layer.sealed.format is Format.yaml else f"{layer.name}:"
    texts = {leaf.path: ciphertext_digest(leaf.text) for leaf in layer.sealed.leaves if leaf.kind == "str"}
    found = []
    for path, secret in secrets_in(layer.values):
        if path not in texts:
            continue
        inner = _inner(secret) if layer.sealed.format is Format.binary else {}
        for below, value in (inner or {(): secret}).items():
            full = (*path, *below)
            told = prefix + ".".join(full)
            found.append(Candidate(told, layer.place(path), texts[path], value, _opens(full, value)))
    return found


def same_value(one: Secret, other: Secret) -> bool:
    """Whether two values are the same credential, however each file writes it down."""
    return hmac.compare_digest(comparable(one), comparable(other))


def comparable(value: Secret) -> bytes:
    """A keyed digest of the canonical form, for finding equal values within one process."""
    return hmac.digest(_PROCESS_KEY, _canonical_bytes(value), "sha256")


def bits_of(value: Secret) -> float:
    """How many bits a guesser has to try at least."""
    return estimated_bits(str(reveal(value)))


def boolean_words(layer: OpenedLayer) -> list[tuple[str, str]]:
    """(path, place) of texts that YAML 1.1 reads as booleans when they are not sealed."""
    return [
        (".".join(path), layer.place(path))
        for path, secret in secrets_in(layer.values)
        if isinstance(reveal(secret), str) and str(reveal(secret)).lower() in _BOOLEAN_WORDS
    ]


def ciphertext_digest(text: str) -> str:
    """Which ciphertext an entry is of."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_key(root: Path) -> ClearText:
    """The key of the digests, opened; made, for every environment's readers, where there is none yet."""
    path = digest_key_file(root)
    name = name_of(root, path)
    if not path.exists():
        readers = all_readers(root)
        if not readers:
            raise SecretsError("no environment has a sealed file yet", where=name)
        with locked(path.parent):
            if not path.exists():
                content = sops.encrypt(ClearText(os.urandom(_KEY_BYTES)), name=name, recipients=readers)
                write_whole(path, content)
    sealed = read_sealed(path, name=name)
    return sops.decrypt(sealed.content, name=name, environment=demonstration.environment_for(sealed, path))


def all_readers(root: Path) -> tuple[str, ...]:
    """The recipients of every environment: those of its sealed file, or of the rule that will seal it."""
    rules = find_rules(root)
    names = {path.stem for path in (root / "config").glob("*.yaml")} | set(environments_with_secrets(root))
    found: dict[str, None] = {}
    for environment in sorted(names):
        path = environment_file(root, environment)
        name = name_of(root, path)
        found.update(
            dict.fromkeys(read_sealed(path, name=name).recipients if path.exists() else rules.recipients(name))
        )
    return tuple(found)


def update_key_readers(root: Path) -> bool:
    """Seals the digests' key for who reads an environment now; False where that is so already. Needs a key at hand."""
    path = digest_key_file(root)
    if not path.exists():
        return False
    name = name_of(root, path)
    wanted = all_readers(root)
    with sealed_copy(path, name=name) as (copy, sealed):
        missing = [recipient for recipient in wanted if recipient not in sealed.recipients]
        gone = [recipient for recipient in sealed.recipients if recipient not in wanted]
        if missing or gone:
            environment = demonstration.environment_for(sealed, path)
            sops.rotate(copy, name=name, add=missing, remove=gone, environment=environment)
    return bool(missing or gone)


def _scrypt(value: Secret, key: ClearText) -> bytes:
    return hashlib.scrypt(
        _canonical_bytes(value), salt=reveal_bytes(key), maxmem=128 * 1024 * 1024, dklen=_DIGEST_BYTES, **SCRYPT
    )


def _canonical_bytes(value: Secret) -> bytes:
    return canonical(str(reveal(value))).encode("utf-8", "surrogatepass")


def _opens(path: Sequence[str], secret: Secret) -> bool:
    return isinstance(reveal(secret), str) and looks_like_credential(path, str(reveal(secret)))


def _inner(secret: Secret) -> dict[KeyPath, Secret]:
    """The texts of a file that is YAML or JSON inside, as kubeconfigs are; empty for what is one text."""
    try:
        tree = wrap(yaml.safe_load(str(reveal(secret))))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return {} if isinstance(tree, Secret) else dict(secrets_in(tree))


def _text_digests(sealed: SealedFile) -> Iterator[str]:
    return (ciphertext_digest(leaf.text) for leaf in sealed.leaves if leaf.kind == "str")
