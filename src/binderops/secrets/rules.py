"""`.sops.yaml`: for whom each file is sealed, and who the readers are.

sops reads `creation_rules` and leaves other keys alone; ours is `readers`, a list of `{name, key, reason}`: names for
keys, and, for a key that reads two environments, the reason why it may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from binderops.errors import SecretsError, UsageError

RULES_FILE = ".sops.yaml"


@dataclass(frozen=True)
class Reader:
    """A key with the name of who holds it; `reason` says why it may read more than one environment."""

    name: str
    key: str
    reason: str = ""


@dataclass(frozen=True)
class Rules:
    """The file as it is; `path` is None where a repository has none."""

    path: Path | None
    data: Any

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The readers that have names."""
        found = self.data.get("readers") or []
        return tuple(
            Reader(str(item.get("name") or ""), str(item["key"]), str(item.get("reason") or ""))
            for item in found
            if isinstance(item, dict) and item.get("key")
        )

    def reader(self, word: str) -> Reader | None:
        """The reader of that name or key."""
        return next((reader for reader in self.readers if word in (reader.name, reader.key)), None)

    def named(self, recipient: str) -> str:
        """`ana (age1q8d…)`, or the key alone where it has no name."""
        found = self.reader(recipient)
        return f"{found.name} ({recipient[:12]}…)" if found and found.name else recipient

    def recipients(self, name: str) -> tuple[str, ...]:
        """The age recipients of a file by its creation rule, `name` relative to the repository."""
        rule = self._rule(name)
        return () if rule is None else tuple(dict.fromkeys(_listed(rule)))

    def covers(self, name: str) -> bool:
        """Whether a creation rule fits the file."""
        return self._rule(name) is not None

    def with_rule(self, name: str, recipients: tuple[str, ...]) -> None:
        """Adds a rule for exactly this file, before the others, since the first that matches wins."""
        rules = self.data.setdefault("creation_rules", [])
        rules.insert(0, {"path_regex": f"^{re.escape(name)}$".replace(r"\-", "-"), "age": list(recipients)})

    def add(self, name: str, reader: Reader) -> None:
        """Adds a key to the file's rule, and its name to the readers."""
        rule = self._needed(name)
        if reader.key not in self.recipients(name):
            _replace(rule, [*_listed(rule), reader.key])
        self.name_reader(reader)

    def remove(self, name: str, key: str) -> None:
        """Takes a key out of the file's rule; its name goes when no rule has it any more."""
        rule = self._needed(name)
        left = [recipient for recipient in _listed(rule) if recipient != key]
        if not left:
            raise UsageError(
                f"{key} is the only reader of {name}",
                where=RULES_FILE,
                why="without a reader nobody can open the file again",
                hint="add another reader first",
            )
        _replace(rule, left)
        if not any(key in _listed(other) for other in self._rules()):
            readers = self.data.get("readers") or []
            for item in [item for item in readers if item.get("key") == key]:
                readers.remove(item)

    def name_reader(self, reader: Reader) -> None:
        """Writes who holds a key, and the reason, if there is one."""
        readers = self.data.setdefault("readers", [])
        entry = next((item for item in readers if item.get("key") == reader.key), None)
        if entry is None:
            entry = {"name": reader.name, "key": reader.key}
            readers.append(entry)
        entry["name"] = reader.name or entry.get("name") or ""
        if reader.reason:
            entry["reason"] = reader.reason

    def text(self) -> str:
        """The file with its changes; comments stay."""
        written = StringIO()
        _writer().dump(self.data, written)
        return written.getvalue()

    def _rules(self) -> Iterator[Any]:
        for rule in self.data.get("creation_rules") or []:
            if isinstance(rule, dict):
                yield rule

    def _rule(self, name: str) -> Any | None:
        for rule in self._rules():
            pattern = rule.get("path_regex")
            try:
                if not pattern or re.search(str(pattern), name):
                    return rule
            except re.error:
                raise SecretsError(
                    f"{RULES_FILE}: a path_regex is no regular expression", where=str(self.path), why=str(pattern)
                ) from None
        return None

    def _needed(self, name: str) -> Any:
        rule = self._rule(name)
        if rule is None:
            raise SecretsError(
                f"no creation rule of {RULES_FILE} fits {name}",
                where=str(self.path or RULES_FILE),
                hint=f"add one whose path_regex is ^{name}$",
            )
        return rule


def find_rules(start: Path) -> Rules:
    """The rules at or above a path; empty ones where there are none."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / RULES_FILE).is_file():
            return load_rules(folder / RULES_FILE)
    return Rules(path=None, data={})


def load_rules(path: Path) -> Rules:
    """Reads one `.sops.yaml`; raises SecretsError where it is no YAML mapping."""
    try:
        data = _writer().load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise SecretsError(f"{RULES_FILE} is not valid YAML", where=str(path), why=str(error)) from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SecretsError(f"{RULES_FILE} holds no mapping", where=str(path))
    return Rules(path=path, data=data)


def _listed(rule: Any) -> list[str]:
    groups = rule.get("key_groups") or [rule]
    found: list[str] = []
    for group in groups:
        given = group.get("age") or []
        found += (
            [part.strip() for part in given.split(",")] if isinstance(given, str) else [str(part) for part in given]
        )
    return [recipient for recipient in found if recipient]


def _replace(rule: Any, recipients: list[str]) -> None:
    groups = rule.get("key_groups")
    if groups and len(groups) > 1:
        raise UsageError(
            "a rule with several key groups is changed by hand",
            where=RULES_FILE,
            why="which group a key belongs to is your choice",
            hint="edit .sops.yaml, then: sops updatekeys FILE",
        )
    holder = groups[0] if groups else rule
    if isinstance(holder.get("age"), list):
        present = holder["age"]
        for recipient in [item for item in present if str(item) not in recipients]:
            present.remove(recipient)
        present.extend(recipient for recipient in recipients if recipient not in [str(item) for item in present])
    else:
        holder["age"] = recipients


def _writer() -> YAML:
    writer = YAML()
    writer.width = 200
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.preserve_quotes = True
    return writer
