"""`new environment`: its lines in binderops.yaml, its clear layers, and what is left to do by hand.

What stands in binderops.yaml stays byte for byte: the new lines are put behind the last environment.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from binderops.delivery.demonstration import refuse_demonstration
from binderops.delivery.results import NewEnvironmentResult
from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_readers import add
from binderops.delivery.secrets_values import generate_missing
from binderops.errors import BinderOpsError, UsageError
from binderops.secrets.formats import is_secret_path
from binderops.secrets.rules import RULES_FILE, Reader
from binderops.state.deployment import load_deployment
from binderops.state.documents import read_document
from binderops.state.layers import expand, shown
from binderops.state.project import PROJECT_FILE, Environment, Project, load_project
from binderops.state.public import BLOCKED_PORTS

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_KEYS = ("publicPort", "publicTlsPort")
_NODE_NAME_LENGTH = 8  # interface names are built from it


@dataclass(frozen=True)
class Founding:
    """A new environment `name`, made in the likeness of `like`; `reader` is to read its secrets, beside its rule's."""

    root: Path
    project: Project
    name: str
    like: str
    reader: Reader | None = None

    def run(self) -> NewEnvironmentResult:
        """Writes all of it, or nothing; raises UsageError for a name that is taken or cannot be."""
        self._refuse()
        model = self.project.environment(self.like)
        files = dict(self._files(model))
        for path in files:
            if path.exists():
                raise UsageError(f"{shown(self.root, path)} is there already", hint="remove it, or take another name")
        lines = self._lines(model)
        project_file = self.root / PROJECT_FILE
        before = project_file.read_text(encoding="utf-8")
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        project_file.write_text(self._with_lines(before, lines), encoding="utf-8")
        try:
            load_project(self.root)
        except BinderOpsError:
            project_file.write_text(before, encoding="utf-8")
            for path in files:
                path.unlink()
            raise
        written = [PROJECT_FILE, *(shown(self.root, path) for path in files)]
        left = [*self._sealed(model, written), *self._left(model)]
        return NewEnvironmentResult(environment=self.name, written=tuple(written), left=tuple(left))

    def _sealed(self, model: Environment, written: list[str]) -> Iterator[str]:
        """Fresh values for every secret that the enabled components need; what keeps it from being sealed is left."""
        own = [pattern for pattern in model.layers if is_secret_path(pattern) and self._renamed(pattern) != pattern]
        if not own:
            return
        place = SecretsPlace(self.root, load_project(self.root), self.name)
        try:
            if self.reader is not None:
                add(place, self.reader.key, name=self.reader.name, reason=self.reader.reason)
                written.append(RULES_FILE)
            generate_missing(place, now=datetime.now(UTC))
        except BinderOpsError as error:
            yield f"{place.name} is not sealed yet: {error.what}"
            yield f"binderops secrets readers {self.name} --add KEY --name WHO (binderops secrets new-key makes one)"
            yield f"binderops secrets generate {self.name}"
        else:
            written.append(place.name)

    def _refuse(self) -> None:
        refuse_demonstration(self.root, self.project, self.like)
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"an environment cannot be called {self.name!r}", hint="a-z, 0-9 and '-', not at its ends, at most 63"
            )
        if self.name in self.project.environments:
            raise UsageError(f"there is an environment {self.name!r} already", where=PROJECT_FILE)

    def _files(self, model: Environment) -> Iterator[tuple[Path, str]]:
        """The clear layers that carry the model's name: copied, with names and ports of their own."""
        for pattern in model.layers:
            for path in expand(self.root, pattern, owner=self.like) if not is_secret_path(pattern) else []:
                target = self.root / self._renamed(shown(self.root, path))
                if target != path:
                    yield target, self._own_ports(self._renamed(path.read_text(encoding="utf-8")))

    def _lines(self, model: Environment) -> str:
        told = model.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        told.pop("promotesTo", None)
        if model.target.node is not None:
            taken = {found.target.node.api_port for found in self.project.environments.values() if found.target.node}
            told["target"]["node"] |= {"name": self._node_name(), "apiPort": _next(max(taken), taken)}
            told["target"]["node"].pop("podRange", None)
            told["target"]["node"].pop("serviceRange", None)
        if model.namespace == self.like:
            told["namespace"] = self.name
        told["layers"] = [self._renamed(pattern) for pattern in model.layers]
        writer = YAML()
        writer.width = 110
        buffer = io.StringIO()
        writer.dump(_styled({self.name: told}), buffer)
        return "".join(f"  {line}\n" for line in buffer.getvalue().splitlines())

    def _node_name(self) -> str:
        taken = {found.target.node.name for found in self.project.environments.values() if found.target.node}
        name = self.name[:_NODE_NAME_LENGTH].rstrip("-")
        numbered = (f"{name[: _NODE_NAME_LENGTH - 2]}{number:02d}" for number in range(100))
        return name if name not in taken else next(found for found in numbered if found not in taken)

    def _with_lines(self, text: str, lines: str) -> str:
        """The text with the lines put behind the last environment, before whatever follows at the top level."""
        document = read_document(self.root / PROJECT_FILE, name=PROJECT_FILE)
        start = document.lines["environments",]
        rows = text.splitlines(keepends=True)
        after = [line for path, line in document.lines.items() if len(path) == 1 and line > start]
        end = min(after) - 1 if after else len(rows)
        while end > start and (not rows[end - 1].strip() or (after and rows[end - 1].startswith("#"))):
            end -= 1  # blank lines, and comments that belong to the next key
        if not rows[end - 1].endswith("\n"):
            rows[end - 1] += "\n"
        return "".join([*rows[:end], "\n", lines, *rows[end:]])

    def _renamed(self, text: str) -> str:
        return re.sub(rf"(?<![A-Za-z0-9-]){re.escape(self.like)}(?![A-Za-z0-9-])", self.name, text)

    def _own_ports(self, text: str) -> str:
        taken = {*self._public_ports(), *BLOCKED_PORTS}

        def own(match: re.Match[str]) -> str:
            port = int(match[2])
            if not port:
                return match[0]
            free = _next(port, taken, step=1000 if port + 1000 <= 65535 else 1)
            taken.add(free)
            return f"{match[1]}{free}"

        return re.sub(rf"\b((?:{'|'.join(_PORT_KEYS)}):\s*)(\d+)\b", own, text)

    def _public_ports(self) -> Iterator[int]:
        for name in self.project.environments:
            try:
                yield from load_deployment(self.root, self.project, name, opened=False).public.ports
            except BinderOpsError:
                continue  # an environment whose files are not whole yet has no port to avoid

    def _left(self, model: Environment) -> Iterator[str]:
        for pattern in model.layers:
            renamed = self._renamed(pattern)
            if renamed == pattern and not is_secret_path(pattern):
                yield f"{pattern} is a layer of {self.like} and of {self.name} alike: is that meant?"
        if model.target.cluster is not None:
            yield f"{PROJECT_FILE}: environments.{self.name}.target.cluster points at {self.like}'s cluster still"
        if self.project.promoters_of(self.like):
            promoters = " and ".join(self.project.promoters_of(self.like))
            yield f"{PROJECT_FILE}: promotesTo of {promoters}, if {self.name} shall take only what is proven there"
        yield f"config/{self.name}.yaml: look at its domain and ports, then binderops up {self.name}"


def _next(start: int, taken: set[int], *, step: int = 1) -> int:
    port = start
    while port in taken:
        port = port + step if port + step <= 65535 else 1024
    return port


def _styled(told: Any) -> Any:
    """Small maps and lists of plain values on one line, as people write them."""
    if isinstance(told, dict):
        made = CommentedMap({key: _styled(value) for key, value in told.items()})
        if told and all(not isinstance(value, dict) for value in told.values()) and "layers" not in told:
            made.fa.set_flow_style()
        return made
    if isinstance(told, list):
        listed = CommentedSeq([_styled(value) for value in told])
        if all(not isinstance(value, dict | list) for value in told):
            listed.fa.set_flow_style()
        return listed
    return told
