"""Sealed layers of values, opened: what `state` reads them by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.errors import NotAReaderError, SecretsError
from binderops.secrets import demonstration, sops
from binderops.secrets.formats import Format
from binderops.secrets.identities import recipients_at_hand
from binderops.secrets.rules import find_rules
from binderops.secrets.sealed import KeyPath, SealedFile, read_sealed
from binderops.secrets.values import ClearText, reveal_bytes, wrap

DECLARATION = "opens_nothing_unencrypted"  # common/*.yaml: the key paths whose values open nothing; no value of Helm's


@dataclass(frozen=True)
class OpenedLayer:
    """One sealed layer: values whose leaves are `Secret`, the line of each key path, and the file as it lies there."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    sealed: SealedFile

    def place(self, path: KeyPath) -> str:
        """`file:line` of a key path, or of its nearest parent."""
        return self.sealed.place(path)


def open_layer(path: Path, *, name: str | None = None, on_this_machine: bool = True) -> OpenedLayer:
    """Opens a sealed YAML or JSON file of values; a binary file is `{"data": Secret}`.

    `on_this_machine` is whether its target is: only then a file that a demonstration key reads is opened at all.
    Raises NotAReaderError, NotSealedError, SealBrokenError, or SecretsError, each with file and line.
    """
    sealed = read_sealed(path, name=name)
    demonstration.refuse_elsewhere(sealed, on_this_machine=on_this_machine)
    return OpenedLayer(name=sealed.name, values=_values(sealed, path), lines=sealed.lines, sealed=sealed)


def open_layers(
    paths: Sequence[Path], *, names: Sequence[str] | None = None, on_this_machine: bool = True
) -> list[OpenedLayer]:
    """Opens several side by side; the first that fails, in their order, is the error."""
    if not paths:
        return []
    shown = names or [str(path) for path in paths]
    with ThreadPoolExecutor(max_workers=min(8, len(paths)), thread_name_prefix="sops") as pool:
        opened = [
            pool.submit(open_layer, path, name=name, on_this_machine=on_this_machine)
            for path, name in zip(paths, shown, strict=True)
        ]
        return [future.result() for future in opened]


def open_text(path: Path, *, name: str | None = None, output: Format | None = None) -> ClearText:
    """Opens a sealed file as text, comments included, for editors and merges."""
    sealed = read_sealed(path, name=name)
    return _decrypt(sealed, path, output=output)


def not_a_reader(sealed: SealedFile, path: Path, *, reason: str | None = None) -> NotAReaderError:
    """The error that names the readers of a file and the keys at hand."""
    rules = find_rules(path)
    named = ", ".join(rules.named(recipient) for recipient in sealed.recipients) or ", ".join(sealed.other_readers)
    environment = demonstration.environment_for(sealed, path)
    own = ", ".join(rules.named(recipient) for recipient in recipients_at_hand(environment))
    return NotAReaderError(
        f"none of your keys opens {sealed.name}",
        where=sealed.name,
        why=f"this file is for {named}; your keys are {own or 'none'}" + (f" ({reason})" if reason else ""),
        hint="ask one of them: binderops secrets readers ENV --add KEY --name YOU (docs/operate/secrets.md)",
    )


def _values(sealed: SealedFile, path: Path) -> dict[str, Any]:
    if sealed.format is Format.binary:
        return wrap({"data": _decoded(_decrypt(sealed, path))})  # type: ignore[no-any-return]
    values = _parsed(_decrypt(sealed, path, output=Format.json), name=sealed.name)
    values.pop(DECLARATION, None)
    return values


def _decrypt(sealed: SealedFile, path: Path, *, output: Format | None = None) -> ClearText:
    environment = demonstration.environment_for(sealed, path)
    try:
        return sops.decrypt(sealed.content, name=sealed.name, output=output, environment=environment)
    except NotAReaderError as error:
        reason = error.why
    raise not_a_reader(sealed, path, reason=reason)


def _decoded(clear: ClearText) -> Any:
    return reveal_bytes(clear).decode("utf-8", "surrogateescape")


def _parsed(clear: ClearText, *, name: str) -> dict[str, Any]:
    values: Any = None
    try:
        values = wrap(json.loads(reveal_bytes(clear)))
    except (ValueError, RecursionError):
        values = None  # the parser's own error holds the text: it ends here
    if not isinstance(values, dict):
        raise SecretsError(f"{name} holds no mapping of values", where=name)
    return values
