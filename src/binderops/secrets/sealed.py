"""A sealed file as anybody can read it, without any key: key paths, types, readers, rules, dates.

The format is sops' own (https://github.com/getsops/sops): leaves `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, and the
metadata under the key `sops`. Older files have `null` or `[]` for the providers that they do not use.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from binderops.errors import NotSealedError, SecretsError
from binderops.secrets.formats import Format, format_of
from binderops.secrets.values import ClearText, reveal_bytes

KeyPath = tuple[str, ...]

METADATA = "sops"
_LARGEST_FILE = 4 * 1024 * 1024
_SEALED_LEAF = re.compile(r"^ENC\[AES256_GCM,data:(?P<data>[^,]*),iv:[^,]*,tag:[^,]*,type:(?P<type>[a-z]+)\]$")
_CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>|\|\|\|\|\|\|\|)( |$)", re.M)
_OTHER_PROVIDERS = ("kms", "gcp_kms", "hckms", "azure_kv", "hc_vault", "pgp")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Leaf:
    """One leaf; `kind` is sops' type of a sealed one (str, int, float, bool, bytes, time), else clear, empty, null."""

    path: KeyPath
    line: int
    kind: str
    text: str = field(repr=False)

    @property
    def is_sealed(self) -> bool:
        """Whether the value is encrypted."""
        return self.kind not in {"clear", "empty", "null"}


@dataclass(frozen=True)
class SealedFile:
    """What a sealed file tells without a key. `recipients` are age's; `other_readers` names other key services.

    `lines` has the line of each key path, `lists` how many items each list has.
    """

    name: str
    format: Format
    content: bytes = field(repr=False)
    leaves: tuple[Leaf, ...]
    lines: Mapping[KeyPath, int] = field(repr=False)
    lists: Mapping[KeyPath, int] = field(repr=False)
    recipients: tuple[str, ...]
    groups: int
    other_readers: tuple[str, ...]
    last_modified: datetime | None
    version: str
    rule: tuple[str, str] | None

    @property
    def digest(self) -> str:
        """sha256 of the file as it lies there."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def place(self, path: KeyPath) -> str:
        """`file:line` of a key path, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.name}:{line}" if line else self.name


def read_sealed(path: Path, *, name: str | None = None) -> SealedFile:
    """Reads a sealed file; raises SecretsError with file and line for what is none, or is damaged."""
    shown = name or str(path)
    return _or_error(_read(path, shown), shown)


def parse_sealed(content: bytes, *, name: str) -> SealedFile:
    """Parses the bytes of a sealed file. A mistake in what is in clear is never quoted, since it may be a secret."""
    clear = ClearText(content)
    del content  # what is raised from here on has no frame that holds it
    return _or_error(clear, name)


def _or_error(content: ClearText, name: str) -> SealedFile:
    found = _parsed(content, name)
    if isinstance(found, SecretsError):
        found.__context__ = None  # the parser's own error holds the text
        raise found.with_traceback(None)
    return found


def _parsed(clear: ClearText, name: str) -> SealedFile | SecretsError:
    kind = format_of(name)
    content = reveal_bytes(clear)
    lines: dict[KeyPath, int] = {}
    lists: dict[KeyPath, int] = {}
    try:
        root = _compose(content, name=name, kind=kind)
        metadata = _metadata(root, name=name)
        leaves = tuple(_leaves(root, (), lines, lists, name=name))
    except SecretsError as error:
        return error
    return SealedFile(
        name=name,
        format=kind,
        content=content,
        leaves=leaves,
        lines=lines,
        lists=lists,
        recipients=tuple(dict.fromkeys(_recipients(metadata))),
        groups=len(metadata.get("key_groups") or ()) or 1,
        other_readers=tuple(provider for provider in _OTHER_PROVIDERS if metadata.get(provider)),
        last_modified=_time(metadata.get("lastmodified")),
        version=str(metadata.get("version") or ""),
        rule=next(
            ((key, str(metadata[key])) for key in metadata if key.endswith(("_suffix", "_regex")) and metadata[key]),
            None,
        ),
    )


def _read(path: Path, shown: str) -> ClearText:
    try:
        with path.open("rb") as file:
            content = ClearText(file.read(_LARGEST_FILE + 1))
    except FileNotFoundError:
        raise SecretsError(
            f"there is no file {shown}", where=shown, hint="`binderops secrets generate ENV` makes it"
        ) from None
    except OSError as error:
        raise SecretsError(f"{shown} cannot be read", where=shown, why=error.strerror) from None
    if len(content) > _LARGEST_FILE:
        raise SecretsError(f"{shown} is larger than {_LARGEST_FILE // 1024 // 1024} MiB", where=shown)
    return content


def is_sealed(content: bytes, *, name: str) -> bool:
    """Whether the content is a sealed file; what cannot be parsed is none."""
    try:
        parse_sealed(content, name=name)
    except SecretsError:
        return False
    return True


def conflict_line(content: bytes) -> int | None:
    """The line of git's first conflict marker, if there is one."""
    text = content.decode(errors="replace")
    found = _CONFLICT.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else None


def _compose(content: bytes, *, name: str, kind: Format) -> yaml.MappingNode:
    if line := conflict_line(content):
        raise SecretsError(
            f"{name} holds git's conflict markers",
            where=f"{name}:{line}",
            why="a merge of sealed files cannot be mended by hand: their MAC covers every value",
            hint=f"git checkout --merge {name}, after `binderops secrets merge-driver --install`",
        )
    try:
        text = content.decode()
        # A raw tab stands in JSON only between its tokens, and YAML does not take it there.
        root = yaml.compose(text.replace("\t", " ") if kind is not Format.yaml else text, Loader=_LOADER)
    except UnicodeDecodeError:
        raise _not_sealed(name) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        several = "expected a single document" in str(error)
        if kind is Format.binary and not several:
            raise _not_sealed(name) from None
        raise SecretsError(
            f"{name} holds several YAML documents" if several else f"{name} is not valid {kind.value.upper()}",
            where=where,
            why="a layer of values is one document" if several else (error.problem or None),
        ) from None
    except (yaml.YAMLError, RecursionError):
        raise (
            _not_sealed(name) if kind is Format.binary else SecretsError(f"{name} is not valid YAML", where=name)
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise _not_sealed(name)
    return root


def _metadata(root: yaml.MappingNode, *, name: str) -> dict[str, Any]:
    for key, value in root.value:
        if getattr(key, "value", None) == METADATA and isinstance(value, yaml.MappingNode):
            found = _plain(value)
            if isinstance(found, dict) and "mac" in found:
                return found
    raise _not_sealed(name)


def _not_sealed(name: str) -> NotSealedError:
    return NotSealedError(
        f"{name} is not sealed",
        where=name,
        why="it lies in clear where sealed files belong (no `sops` metadata in it)",
        hint=f"binderops secrets seal {name}; what stood in it is known to whoever has the repository: rotate it",
    )


def _plain(node: yaml.Node) -> Any:
    """The metadata as plain data; every scalar but null is text (a version such as 3.11 must not become a number)."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return None if str(node.tag).endswith(":null") else node.value


def _leaves(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], lists: dict[KeyPath, int], *, name: str
) -> Iterator[Leaf]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or not str(key.tag).endswith((":str", ":bool")):
                raise SecretsError(
                    f"{name}: a key is not text",
                    where=f"{name}:{line}",
                    why="sops seals files whose keys are text only",
                    hint="put the key in quotes",
                )
            child = (*path, str(key.value))
            if child == (METADATA,):
                continue
            if child in lines:
                raise SecretsError(
                    f"{name}: the key {'.'.join(child)} stands twice",
                    where=f"{name}:{line}",
                    why=f"it stands at line {lines[child]} already",
                    hint="take the last good version from git, and make the change again",
                )
            lines[child] = line
            yield from _leaves(value, child, lines, lists, name=name)
    elif isinstance(node, yaml.SequenceNode):
        lists[path] = len(node.value)
        for index, item in enumerate(node.value):
            child = (*path, str(index))
            lines[child] = item.start_mark.line + 1
            yield from _leaves(item, child, lines, lists, name=name)
    else:
        yield Leaf(path=path, line=node.start_mark.line + 1, kind=_kind(node), text=str(node.value))


def _kind(node: yaml.Node) -> str:
    if str(node.tag).endswith(":null"):
        return "null"
    found = _SEALED_LEAF.match(str(node.value))
    return found["type"] if found else "clear" if node.value else "empty"


def _recipients(metadata: Mapping[str, Any]) -> Iterator[str]:
    groups: Sequence[Any] = metadata.get("key_groups") or [metadata]
    for group in groups:
        for entry in (group or {}).get("age") or ():
            if isinstance(entry, dict) and entry.get("recipient"):
                yield str(entry["recipient"])


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
