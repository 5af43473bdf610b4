"""Canaries: whatever a command can leave is searched for values that it handled.

Standard output and error, JSON, debug logs, tracebacks with locals, temporary folders, the repository itself, and the
command line and environment of every process that it starts, while they run.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.traceback import Traceback
from tests.cli.command_names import command_names
from typer.testing import CliRunner

from binderops.cli.app import app
from binderops.errors import BinderOpsError
from binderops.secrets import sops
from binderops.secrets.editing import problem_of
from binderops.secrets.layers import open_layer
from binderops.secrets.values import ClearText

CANARY = "canary" + os.urandom(24).hex()
FORMS = [CANARY, base64.b64encode(CANARY.encode()).decode()[:40], CANARY[::-1]]


def holds_canary(text: str) -> bool:
    return any(form in text for form in FORMS)


class Watcher:
    """Looks at the command line and environment of every process of this session's tree, as often as it can."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.leaks: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        own = str(os.getpid())
        while not self._stop.is_set():
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and folder.name != own:
                    self._look(folder)

    def _look(self, folder: Path) -> None:
        with suppress(OSError):
            if "sops" not in (told := (folder / "cmdline").read_text(errors="replace")) and "binderops" not in told:
                return
            self.seen.add(Path(told.split("\0")[0]).name)
            for part in ("cmdline", "environ"):
                if holds_canary((folder / part).read_text(errors="replace")):
                    self.leaks.append(f"{part} of {told}")


@contextmanager
def everything_logged(records: io.StringIO) -> Iterator[None]:
    handler = logging.StreamHandler(records)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def left_behind(*folders: Path) -> list[Path]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):
                if path.is_file() and holds_canary(path.read_text(errors="replace")):
                    found.append(path)
    return found


@pytest.fixture
def planted(both: Any, as_person: Callable[..., None], run: Any) -> Any:
    """A canary in staging, put there by the command itself."""
    as_person("ana", "ben")
    assert run("set", "staging", "binderhub.localToken", give=CANARY).returncode == 0
    return both


def editor(tmp_path: Path, body: str) -> str:
    script = tmp_path / "tools" / "editor.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"import pathlib, sys\nfile = pathlib.Path(sys.argv[-1])\ntext = file.read_text()\n{body}\n")
    return f"{sys.executable} {script}"


COMMANDS: dict[str, tuple[list[str], str]] = {
    "set": (["set", "staging", "binderhub.registry.password"], CANARY),
    "set json": (["set", "staging", "binderhub.list", "--json"], json.dumps([CANARY])),
    "set not json": (["set", "staging", "a", "--json"], f'{{"a": {CANARY}'),
    "set a bad path": (["set", "staging", "a..b"], CANARY),
    "set no such environment": (["set", "stagin", "a"], CANARY),
    "set below a text": (["set", "staging", "binderhub.localToken.below"], CANARY),
    "unset": (["set", "staging", "binderhub.localToken", "--unset"], ""),
    "rotate": (["rotate", "staging", "binderhub.localToken"], ""),
    "generate": (["generate", "staging"], ""),
    "keys": (["keys", "staging"], ""),
    "readers": (["readers"], ""),
    "check": (["check", "--whole-history"], ""),
    "edit nothing": (["edit", "staging", "--editor", "true"], ""),
    "edit failed": (["edit", "staging", "--editor", "false"], ""),
    "edit no editor": (["edit", "staging", "--editor", "/nonexistent/editor"], ""),
}


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_leaves_a_value(planted: Any, run: Any, tmp_path: Path, command: str, output: str) -> None:
    arguments, give = COMMANDS[command]
    records = io.StringIO()
    with everything_logged(records), Watcher() as watcher:
        done = run(*arguments, "--output", output, give=give)
    assert "Traceback" not in done.stderr
    assert not holds_canary(done.stdout + done.stderr + records.getvalue())
    assert watcher.leaks == []
    assert left_behind(tmp_path, Path("/dev/shm")) == []


# Every other command there is, on a machine where nothing runs: what each says of the files, or of what is missing.
OTHERS: dict[str, list[str]] = {
    "state": ["staging"],
    "explain": ["staging", "binderhub.localToken"],
    "env": [],
    "status": [],
    "deploy": ["staging"],
    "verify": ["staging"],
    "rollback": ["staging"],
    "ledger": ["staging"],
    "logs": ["hub", "-e", "staging"],
    "launch": ["config", "-e", "staging"],
    "kubeconfig": ["staging"],
    "certificates": ["staging"],
    "trust": ["staging"],
    "new environment": ["demo", "--like", "staging"],
    "secrets import": ["secret/config/staging.yaml"],
    "secrets seal": ["secret/staging/robot.yaml"],
    "secrets merge-driver": ["secret/config/staging.yaml"] * 3 + ["secret/config/staging.yaml"],
    "secrets new-key": [],
    "secrets readers": ["staging", "--add", "age1nobody", "--name", "x"],
    "down": ["staging"],
    "purge": ["staging"],
}
ON_A_MACHINE = {
    "up",
    "images build",
    "images publish",
}  # the journeys of tests/e2e search those, and what the others say of a running node


def test_no_other_command_leaves_one_either(planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(planted.root)
    monkeypatch.setenv("BINDEROPS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BINDEROPS_RUN", str(tmp_path / "run"))
    (planted.root / "secret/staging").mkdir()
    records = io.StringIO()
    with everything_logged(records), Watcher() as watcher:
        for name, arguments in OTHERS.items():
            (planted.root / "secret/staging/robot.yaml").write_text("a: [")
            for output in ("text", "json"):
                done = CliRunner().invoke(app, [*name.split(), *arguments, "--output", output], input="")
                assert done.exception is None or isinstance(done.exception, SystemExit), (name, done.exception)
                assert not holds_canary(done.output), name
    assert not holds_canary(records.getvalue())
    assert watcher.leaks == []
    assert left_behind(tmp_path, Path("/dev/shm")) == []


def test_every_command_is_searched() -> None:
    searched = {f"secrets {arguments[0]}" for arguments, _ in COMMANDS.values()} | set(OTHERS) | ON_A_MACHINE
    assert command_names() == searched


@pytest.mark.parametrize(
    "wrong", ["{{ fail .Values.binderhub.localToken }}", "{{ .Values.binderhub.localToken.none }}"]
)
def test_a_template_error_that_quotes_its_line_shows_none(planted: Any, run: Any, tmp_path: Path, wrong: str) -> None:
    (planted.root / "mybinder/templates/wrong.yaml").write_text(wrong)
    for output in ("text", "json"):
        done = run("check", "--output", output)
        assert done.returncode == 1 and "secrets.render" in done.stdout
        assert "wrong.yaml" in done.stdout and not holds_canary(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "body", ["file.write_text('a: [\\n' + text)", "file.write_text(text + 'a: yes\\n')", "file.unlink()"]
)
def test_no_edit_leaves_a_value(planted: Any, run: Any, tmp_path: Path, body: str) -> None:
    with Watcher() as watcher:
        done = run("edit", "staging", "--editor", editor(tmp_path, body))
    assert done.returncode == 1 and not holds_canary(done.stdout + done.stderr)
    assert watcher.leaks == [] and watcher.seen
    assert left_behind(tmp_path, Path("/dev/shm")) == []


def test_an_edit_that_is_taken_leaves_none_either(planted: Any, run: Any, tmp_path: Path) -> None:
    with Watcher() as watcher:
        body = f"file.write_text(text + 'extra: {CANARY}\\n')"
        done = run("edit", "staging", "--editor", editor(tmp_path, body))
    (tmp_path / "tools/editor.py").unlink()
    assert done.returncode == 0 and not holds_canary(done.stdout + done.stderr)
    assert watcher.leaks == []
    assert left_behind(tmp_path, Path("/dev/shm")) == []


def told_with_locals(error: BaseException) -> str:
    """A traceback with the locals of every frame, as the most talkative of tools print it."""
    written = io.StringIO()
    console = Console(file=written, width=400, color_system=None)
    console.print(
        Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_string=100_000)
    )
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    chained = error.__context__
    return written.getvalue() + plain + (told_with_locals(chained) if chained else "")


def break_it(path: Path, change: Callable[[str], str]) -> int:
    return path.write_text(change(path.read_text()))


def without_key(patch: pytest.MonkeyPatch) -> bool:
    patch.delenv("SOPS_AGE_KEY")
    return True


NO_SOPS = sops.Sops(Path("/none"), (9,))
ERRORS: dict[str, Callable[[Path, pytest.MonkeyPatch], Any]] = {
    "wrong MAC": lambda path, _: (break_it(path, lambda t: t.replace("localToken", "localTokem")), open_layer(path)),
    "in clear": lambda path, _: (path.write_text(f"a: {CANARY}\nb: [\n"), open_layer(path)),
    "in clear, valid": lambda path, _: (path.write_text(f"a: {CANARY}\n"), open_layer(path)),
    "in clear, twice": lambda path, _: (path.write_text(f"a: {CANARY}\na: {CANARY}\n"), open_layer(path)),
    "no key": lambda path, patch: (without_key(patch), open_layer(path)),
    "encrypt not YAML": lambda path, _: seal(f"{CANARY}: ["),
    "encrypt a list": lambda path, _: seal(f"- {CANARY}\n"),
    "encrypt a text": lambda path, _: seal(f"{CANARY}\n"),
    "encrypt twice": lambda path, _: seal(f"{CANARY}: 1\n{CANARY}: 2\n"),
    "set not JSON": lambda path, _: sops.set_value(path, ["a"], ClearText(CANARY.encode()), name="x.yaml"),
    "a bad save": lambda path, _: raise_it(problem_of(ClearText(f"a: {CANARY}: b".encode()), name="x.yaml")),
    "a hanging sops": lambda path, patch: (patch.setattr(sops, "DEADLINE_SECONDS", 0.0001), open_layer(path)),
    "no sops": lambda path, patch: (patch.setattr(sops, "find_sops", lambda: NO_SOPS), open_layer(path)),
}  # fmt: skip


def seal(clear: str) -> bytes:
    from binderops.secrets.identities import new_identity

    return sops.encrypt(ClearText(clear.encode()), name="x.yaml", recipients=[new_identity()[1]])


def raise_it(error: BaseException | None) -> None:
    assert error is not None
    raise error


@pytest.mark.parametrize("kind", ERRORS)
def test_no_traceback_holds_a_value_even_with_locals(planted: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = planted.root / "secret/config/staging.yaml"
    with pytest.raises(BinderOpsError) as caught:
        ERRORS[kind](path, monkeypatch)
    # The lambdas above stand in this file, with the canary's name; their own frame is not what is tested.
    frames = caught.value.__traceback__
    while frames is not None and "/tests/" in frames.tb_frame.f_code.co_filename:
        frames = frames.tb_next
    told = told_with_locals(caught.value.with_traceback(frames))
    assert not holds_canary(told), told
    assert not holds_canary(json.dumps([caught.value.what, caught.value.where, caught.value.why, caught.value.hint]))


def test_a_render_that_fails_does_not_quote_it(planted: Any, run: Any) -> None:
    from binderops.cli.wiring import open_project
    from binderops.state.deployment import load_deployment

    run("set", "staging", "global.publicPort", give=CANARY)
    root, project = open_project(planted.root)
    with pytest.raises(BinderOpsError) as caught:
        load_deployment(root, project, "staging").objects  # noqa: B018
    assert not holds_canary(str(caught.value))
    done = run("check")
    assert done.returncode == 1 and "secrets.render" in done.stdout and not holds_canary(done.stdout + done.stderr)


def test_git_sees_no_value(planted: Any) -> None:
    planted.commit()
    shown = planted.git("log", "-p", "--all")
    assert not holds_canary(shown)


def test_the_watcher_sees_what_leaks(tmp_path: Path) -> None:
    with Watcher() as watcher:
        process = subprocess.Popen(["sleep", "30"], env={"X": CANARY, "PATH": os.environ["PATH"]})
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", "sops", CANARY])
        until = time.monotonic() + 10
        while not watcher.leaks and time.monotonic() < until:
            time.sleep(0.02)
        for one in (process, other):
            one.kill()
            one.wait()
    assert watcher.leaks
