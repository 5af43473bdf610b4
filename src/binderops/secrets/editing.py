"""Editing a sealed file: clear text in memory only, a bad save kept for the next try, a diff as small as the edit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from binderops.errors import SecretsError, UsageError
from binderops.secrets import demonstration, sops
from binderops.secrets.formats import Format, format_of
from binderops.secrets.layers import open_text
from binderops.secrets.memory import keep_draft, memory_folder
from binderops.secrets.places import DRAFT_SUFFIX, name_of
from binderops.secrets.sealed import read_sealed
from binderops.secrets.values import ClearText, reveal_bytes
from binderops.secrets.writing import sealed_copy

_EDITOR_SECONDS = 24 * 3600
_PRIVATE = ("SOPS_AGE_KEY", "SOPS_AGE_KEY_CMD")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE_AND_FALSE = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})

Again = Callable[[SecretsError], bool]


def editor_command(given: str | None = None) -> list[str]:
    """The operator's editor: the option, $SOPS_EDITOR, $VISUAL, $EDITOR, else vi; may have arguments."""
    found = given or next((os.environ[v] for v in ("SOPS_EDITOR", "VISUAL", "EDITOR") if os.environ.get(v)), "vi")
    try:
        return shlex.split(found)
    except ValueError as error:
        raise UsageError("the editor's command cannot be read", where=found, why=str(error)) from None


def edit(path: Path, *, root: Path, editor: Sequence[str], again: Again) -> bool:
    """Opens the file in an editor and seals what was saved. False: nothing changed.

    `again` is asked after a bad save whether to go back to the editor; where it says no, the text is kept, sealed, in a
    draft beside the file, which the next edit goes on from.
    """
    name = name_of(root, path)
    before = open_text(path, name=name)
    draft = draft_of(path)
    recipients = read_sealed(path, name=name).recipients
    with memory_folder(edited=path.name, draft=draft, recipients=recipients) as folder:
        text = folder / path.name
        _write(text, _draft(draft, path) or before)
        while True:
            _run_editor(editor, text, name=name)
            problem = _problem(text, name=name)
            if problem is None:
                break
            if not again(problem):
                keep_draft(text, draft, recipients)
                raise _kept(problem, draft, root)
        changed = _read(text) != before
        if changed:
            _seal(path, text, name=name, scratch=folder, draft=draft, recipients=recipients)
    draft.unlink(missing_ok=True)
    return changed


def draft_of(path: Path) -> Path:
    """Where a text that could not be taken is kept, sealed."""
    return path.with_name(f".{path.name}{DRAFT_SUFFIX}")


def problem_of(clear: ClearText, *, name: str) -> SecretsError | None:
    """What sops or Helm would trip over in a text that is to be sealed; nothing of it is quoted."""
    if format_of(name) is Format.binary:
        return None
    line, why = _parse_problem(clear, tabs=format_of(name) is Format.json)
    if why is None:
        return None
    return SecretsError(
        f"{name} cannot be sealed as it was saved", where=f"{name}:{line}" if line else name, why=why, hint="mend it"
    )


def _run_editor(editor: Sequence[str], text: Path, *, name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
    try:
        code = subprocess.run([*editor, str(text)], env=environment, timeout=_EDITOR_SECONDS, check=False).returncode
    except FileNotFoundError:
        raise UsageError(
            f"there is no editor {editor[0]}", hint="set EDITOR, or use binderops secrets set ENV KEY"
        ) from None
    except subprocess.TimeoutExpired:
        raise SecretsError("the editor was left open for a day", where=name) from None
    if code != 0:
        raise SecretsError(
            f"the editor ended with exit code {code}; {name} is as it was",
            where=name,
            why="an editor that fails may not have saved what you see",
            hint="binderops secrets edit again",
        )


def _problem(text: Path, *, name: str) -> SecretsError | None:
    if not text.is_file():
        return SecretsError(f"the editor removed the text of {name}", where=name)
    return problem_of(_read(text), name=name)


def _seal(path: Path, text: Path, *, name: str, scratch: Path, draft: Path, recipients: Sequence[str]) -> None:
    try:
        with sealed_copy(path, name=name) as (copy, sealed):
            environment = demonstration.environment_for(sealed, path)
            sops.replace_content(copy, text, name=name, scratch=scratch, environment=environment)
        return
    except SecretsError as error:
        keep_draft(text, draft, recipients)
        problem = error
    raise _kept(problem, draft, path.parent)


def _kept(problem: SecretsError, draft: Path, root: Path) -> SecretsError:
    return SecretsError(
        problem.what,
        where=problem.where,
        why=problem.why,
        hint=f"your text is kept, sealed, in {name_of(root, draft)}: the next edit goes on from it",
    )


def _draft(draft: Path, path: Path) -> ClearText | None:
    if not draft.exists():
        return None
    content = draft.read_bytes()
    sealed = read_sealed(draft, name=draft.name)
    return sops.decrypt(content, name=draft.name, environment=demonstration.environment_for(sealed, path))


def _write(text: Path, clear: ClearText) -> None:
    handle = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(reveal_bytes(clear))


def _read(text: Path) -> ClearText:
    return ClearText(text.read_bytes())


def _parse_problem(clear: ClearText, *, tabs: bool) -> tuple[int | None, str | None]:
    """(line, reason); apart, so that no frame of a traceback holds the text."""
    try:
        nodes = list(
            yaml.compose_all(reveal_bytes(clear).replace(b"\t", b" " if tabs else b"\t").decode(), Loader=_LOADER)
        )
    except UnicodeDecodeError:
        return None, "it is not UTF-8"
    except yaml.MarkedYAMLError as error:
        return (error.problem_mark.line + 1 if error.problem_mark else None), "it is not valid YAML"
    except (yaml.YAMLError, RecursionError):
        return None, "it is not valid YAML"
    if len(nodes) != 1 or not isinstance(nodes[0], yaml.MappingNode):
        return 1, "it holds no single mapping of keys to values"
    return _walk(nodes[0], set())


def _walk(node: yaml.Node, seen: set[int]) -> tuple[int | None, str | None]:
    if id(node) in seen:
        return None, None
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return next((found for item in node.value if (found := _walk(item, seen))[1]), (None, None))
    if isinstance(node, yaml.ScalarNode):
        unclear = str(node.tag).endswith(":bool") and node.value not in _TRUE_AND_FALSE
        why = "YAML 1.1 reads this word as a boolean, sops as text: write true or false, or put it in quotes"
        return (node.start_mark.line + 1, why) if unclear else (None, None)
    keys: set[str] = set()
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not str(key.tag).endswith((":str", ":bool", ":merge")):
            return line, "a key is not text: put it in quotes"
        if key.value in keys:
            return line, "a key stands twice"
        keys.add(key.value)
        found = _walk(value, seen)
        if found[1]:
            return found
    return None, None
