"""Nothing shared: slow digests of each environment's credentials, by which a reader of one checks against the others.

Beside `secret/config/ENV.yaml` stands `ENV.digests.yaml`, in clear: for each sealed text, a digest of its ciphertext
(which tells whether the entry is of the value that lies there now) and, where the value is a credential, scrypt of the
value under a key that all environments share. That key is sealed to the readers of every environment. So a reader of
staging learns whether a value that he has, or guesses, stands in prod too, for one scrypt a guess, and nothing else;
somebody without any key sees only that two digests are equal.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from binderops.errors import SecretsError
from binderops.secrets import demonstration, sops
from binderops.secrets.layers import OpenedLayer, open_layer
from binderops.secrets.places import (
    digest_key_file,
    digests_file,
    environment_file,
    environments_with_secrets,
    name_of,
)
from binderops.secrets.rules import find_rules
from binderops.secrets.sealed import KeyPath, SealedFile, read_sealed
from binderops.secrets.strength import canonical, looks_like_credential
from binderops.secrets.values import ClearText, Secret, reveal, reveal_bytes, secrets_in
from binderops.secrets.writing import locked, sealed_copy, write_whole

# About 0.1 s and 48 MiB a guess on a server's core of 2020; a bench holds it above 50 ms.
SCRYPT = {"n": 2**15, "r": 12, "p": 1}
_DIGEST_BYTES = 16
_KEY_BYTES = 32
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


def ciphertext_digest(text: str) -> str:
    """Which ciphertext an entry is of."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slow_digests(values: Sequence[Secret], key: ClearText) -> list[str]:
    """Scrypt of each value's canonical form, side by side on all cores."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="scrypt") as pool:
        return list(pool.map(lambda value: _slow_digest(value, key), values))


def read_digests(root: Path, environment: str) -> Mapping[str, Digested]:
    """The entries beside an environment's sealed file, by path; empty where there is no such file."""
    path = digests_file(root, environment)
    name = name_of(root, path)
    if not path.exists():
        return {}
    try:
        found = YAML(typ="safe", pure=False).load(path.read_text(encoding="utf-8")) or {}
        entries = found["digests"]
        if found["scrypt"] != SCRYPT:
            return {}
        return {
            str(item["path"]): Digested(
                str(item["path"]),
                str(item["sealed"]),
                None if item["digest"] == _NO_CREDENTIAL else str(item["digest"]),
            )
            for item in entries
        }
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise SecretsError(
            f"{name} is not what binderops writes",
            where=name,
            hint="delete it; `binderops secrets check` makes it anew",
        ) from None


def stale_paths(sealed: SealedFile, entries: Mapping[str, Digested]) -> list[str]:
    """The sealed texts whose entry is missing or of another ciphertext. Needs no key."""
    wanted = {".".join(leaf.path): ciphertext_digest(leaf.text) for leaf in sealed.leaves if leaf.kind == "str"}
    return [path for path, digest in wanted.items() if path not in entries or entries[path].sealed != digest]


def refresh_digests(root: Path, environment: str) -> tuple[str, ...]:
    """Brings an environment's digests up to its sealed file, counting only what changed; notes where it cannot."""
    path = environment_file(root, environment)
    sealed = read_sealed(path, name=name_of(root, path))
    entries = read_digests(root, environment)
    known = {".".join(leaf.path) for leaf in sealed.leaves if leaf.kind == "str"}
    stale = stale_paths(sealed, entries)
    if not stale and set(entries) <= known:
        return ()
    try:
        layer = open_layer(path, name=name_of(root, path))
        key = digest_key(root)
    except SecretsError as error:
        return (f"the digests of {environment} are not up to date: {error.what}",)
    write_digests(root, layer, environment, key=key, entries={p: e for p, e in entries.items() if p not in stale})
    return ()


def write_digests(
    root: Path, layer: OpenedLayer, environment: str, *, key: ClearText, entries: Mapping[str, Digested]
) -> None:
    """Writes the digests of an opened layer; `entries` are those that need not be counted again."""
    texts = credentials_of(layer)
    leaves = [leaf for leaf in layer.sealed.leaves if leaf.kind == "str"]
    new = [leaf for leaf in leaves if ".".join(leaf.path) not in entries and leaf.path in texts]
    counted = dict(zip((leaf.path for leaf in new), slow_digests([texts[leaf.path] for leaf in new], key), strict=True))
    told = []
    for leaf in leaves:
        path = ".".join(leaf.path)
        kept = entries.get(path)
        digest = (kept.digest if kept else counted.get(leaf.path)) or _NO_CREDENTIAL
        told.append({"path": path, "sealed": ciphertext_digest(leaf.text), "digest": digest})
    written = StringIO()
    writer = YAML()
    writer.width = 200
    writer.dump({"scrypt": dict(SCRYPT), "digests": told}, written)
    write_whole(digests_file(root, environment), (_HEADER + written.getvalue()).encode())


def credentials_of(layer: OpenedLayer) -> dict[KeyPath, Secret]:
    """The values of an opened file that open something: texts only."""
    return {path: secret for path, secret in secrets_in(layer.values) if is_credential(path, secret)}


def is_credential(path: Iterable[str], secret: Secret) -> bool:
    """Whether a value opens something, by its key's name or by its look."""
    value = reveal(secret)
    return isinstance(value, str) and looks_like_credential(tuple(path), value)


def same_value(one: Secret, other: Secret) -> bool:
    """Whether two values are the same credential, however each file writes it down."""
    return _canonical_text(one) == _canonical_text(other)


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


def _slow_digest(value: Secret, key: ClearText) -> str:
    return _scrypt(value, key).hex()


def _scrypt(value: Secret, key: ClearText) -> bytes:
    return hashlib.scrypt(
        _canonical_text(value).encode("utf-8", "surrogatepass"),
        salt=reveal_bytes(key),
        maxmem=128 * 1024 * 1024,
        dklen=_DIGEST_BYTES,
        **SCRYPT,
    )


def _canonical_text(value: Secret) -> str:
    return canonical(str(_plain(value)))


def _plain(value: Secret) -> Any:
    return reveal(value)
