"""What git-crypt sealed: its key files and its AES-256-CTR with an HMAC-SHA1 as nonce.

Formats: https://github.com/AGWA/git-crypt (key.cpp, commands.cpp). An exported key is `\\0GITCRYPTKEY`, version 2, then
fields (id, length, content), big-endian; before 0.4 it was the 96 bytes of the two keys. A sealed file is
`\\0GITCRYPT\\0`, a nonce of 12 bytes, and the ciphertext; the nonce is the beginning of the HMAC of the clear text.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from binderops.errors import GitError, SealBrokenError, SecretsError, UsageError
from binderops.git import process
from binderops.secrets.values import ClearText, reveal_bytes

_FILE_MAGIC = b"\0GITCRYPT\0"
_KEY_MAGIC = b"\0GITCRYPTKEY"
_NONCE = 12
_AES, _HMAC = 32, 64
_FIELD_END, _FIELD_AES, _FIELD_HMAC = 0, 3, 5
_GIT_SECONDS = 60


@dataclass(frozen=True)
class GitCryptKey:
    """The newest of the keys in a file."""

    aes: bytes = field(repr=False)
    mac: bytes = field(repr=False)


def read_key(path: Path) -> GitCryptKey:
    """An exported key (`git-crypt export-key FILE`)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError("the key cannot be read", where=str(path), why=error.strerror) from None
    if len(content) == _AES + _HMAC:
        return GitCryptKey(content[:_AES], content[_AES:])
    try:
        if not content.startswith(_KEY_MAGIC) or struct.unpack_from(">I", content, len(_KEY_MAGIC))[0] != 2:
            raise ValueError
        return _newest(content, len(_KEY_MAGIC) + 4)
    except (ValueError, struct.error):
        raise UsageError(
            "that is no exported git-crypt key", where=str(path), hint="git-crypt export-key FILE makes one"
        ) from None


def is_sealed_by_git_crypt(content: bytes) -> bool:
    """Whether git-crypt sealed it."""
    return content.startswith(_FILE_MAGIC)


def decrypt(content: bytes, key: GitCryptKey | None, *, name: str) -> ClearText:
    """Opens a file; one that an unlocked tree has in clear is taken as it is."""
    if not is_sealed_by_git_crypt(content):
        return ClearText(content)
    if key is None:
        raise SecretsError(
            f"{name} is locked",
            where=name,
            hint="git-crypt unlock first, or give the exported key: --key FILE (git-crypt export-key FILE)",
        )
    nonce = content[len(_FILE_MAGIC) : len(_FILE_MAGIC) + _NONCE]
    stream = Cipher(algorithms.AES(key.aes), modes.CTR(nonce + bytes(4))).decryptor()
    clear = ClearText(stream.update(content[len(_FILE_MAGIC) + _NONCE :]) + stream.finalize())
    if len(nonce) != _NONCE or not hmac.compare_digest(
        hmac.digest(key.mac, reveal_bytes(clear), "sha1")[:_NONCE], nonce
    ):
        raise SealBrokenError(
            f"{name} does not open with that key", where=name, why="its HMAC does not fit: another key, or damage"
        )
    return clear


def protected_files(tree: Path) -> list[str]:
    """What `.gitattributes` names for git-crypt, relative to the tree."""
    listed = _git(tree, "ls-files", "-z", "--cached")
    told = _git(tree, "check-attr", "-z", "--stdin", "filter", give=listed).split(b"\0")
    found = zip(told[0::3], told[2::3], strict=False)
    names = [path.decode() for path, value in found if value == b"git-crypt" or value.startswith(b"git-crypt-")]
    return sorted(name for name in names if Path(name).name != ".gitattributes")


def without_filter(attributes: str) -> str:
    """A `.gitattributes` without git-crypt: git must not seal a sealed file a second time."""
    kept = []
    for line in attributes.splitlines():
        words = line.split()
        left = [word for word in words if not word.startswith(("filter=git-crypt", "diff=git-crypt"))]
        if left == words or len(left) > 1:
            kept.append(line if left == words else " ".join(left))
    return "".join(f"{line}\n" for line in kept)


def _newest(content: bytes, position: int) -> GitCryptKey:
    _, position = _fields(content, position)  # the header: the key's name
    found: list[GitCryptKey] = []
    while position < len(content):
        fields, position = _fields(content, position)
        if len(fields.get(_FIELD_AES, b"")) != _AES or len(fields.get(_FIELD_HMAC, b"")) != _HMAC:
            raise ValueError("a key of another length")
        found.append(GitCryptKey(fields[_FIELD_AES], fields[_FIELD_HMAC]))
    if not found:
        raise ValueError("no key")
    return found[0]  # git-crypt writes the newest first


def _fields(content: bytes, position: int) -> tuple[dict[int, bytes], int]:
    found: dict[int, bytes] = {}
    for identity, body, after in _walk(content, position):
        if identity == _FIELD_END:
            return found, after
        found[identity] = body
    raise ValueError("it ends too early")


def _walk(content: bytes, position: int) -> Iterator[tuple[int, bytes, int]]:
    while position < len(content):
        (identity,) = struct.unpack_from(">I", content, position)
        if identity == _FIELD_END:
            yield identity, b"", position + 4
            return
        (length,) = struct.unpack_from(">I", content, position + 4)
        if length > len(content):
            raise ValueError("a field is longer than the file")
        yield identity, content[position + 8 : position + 8 + length], position + 8 + length
        position += 8 + length


def _git(tree: Path, *arguments: str, give: bytes = b"") -> bytes:
    try:
        return process.output(tree, *arguments, give=give, seconds=_GIT_SECONDS)
    except GitError as error:
        if error.why is None:
            raise UsageError("git did not answer", where=str(tree)) from None
        raise UsageError("that is no git repository", where=str(tree), why=error.why[:200]) from None
