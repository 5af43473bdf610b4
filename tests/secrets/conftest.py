"""Repositories with real age keys and files that the real sops sealed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from binderops.cli.app import app, register_commands
from binderops.secrets import sops
from binderops.secrets.identities import new_identity
from binderops.secrets.sharing import SCRYPT
from binderops.secrets.values import ClearText


@dataclass
class Person:
    """Somebody with an age key in a file of their own."""

    name: str
    key: str
    file: Path


@dataclass
class SealedRepository:
    """A git repository with staging and prod, each with a reader of its own."""

    root: Path
    people: dict[str, Person] = field(default_factory=dict)

    def person(self, name: str) -> Person:
        """Somebody; a key is made at the first call."""
        if name not in self.people:
            secret, public = new_identity()
            file = self.root.parent / "keys" / f"{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(secret + "\n")
            file.chmod(0o600)
            self.people[name] = Person(name, public, file)
        return self.people[name]

    def rules(self, readers: Mapping[str, list[str]], *, reasons: Mapping[str, str] | None = None) -> None:
        """Writes .sops.yaml: environment (or a path below secret/) -> names."""
        lines = ["# who reads what", "readers:"]
        for name in dict.fromkeys(name for names in readers.values() for name in names):
            lines += [f"  - name: {name}", f"    key: {self.person(name).key}"]
            if reasons and name in reasons:
                lines += [f"    reason: {reasons[name]}"]
        lines.append("creation_rules:")
        for path, names in readers.items():
            pattern = path if "/" in path else rf"^secrets?/config/{path}\.yaml$"
            lines += [f"  - path_regex: {pattern}", "    age:", *(f"      - {self.person(n).key}" for n in names)]
        (self.root / ".sops.yaml").write_text("\n".join(lines) + "\n")

    def seal(self, name: str, clear: str) -> Path:
        """Seals a file by the rules."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sops.encrypt(ClearText(clear.encode()), name=name, config=self.root / ".sops.yaml"))
        return path

    def git(self, *arguments: str) -> str:
        """Runs git here."""
        done = subprocess.run(
            ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org", *arguments],
            cwd=self.root, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def commit(self, message: str = "change") -> None:
        """Commits everything."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def sops(self, *arguments: str, give: str = "") -> str:
        """An operator's own sops, by hand."""
        done = subprocess.run(
            [str(sops.find_sops().path), *arguments],
            cwd=self.root, capture_output=True, text=True, input=give, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SealedRepository:
    """An empty one, where `ana` reads staging and `ben` prod; no key is at hand yet."""
    for variable in ("SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD", "SOPS_AGE_SSH_PRIVATE_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    monkeypatch.setenv("SOPS_DISABLE_VERSION_CHECK", "1")
    root = tmp_path / "repository"
    root.mkdir()
    made = SealedRepository(root)
    made.git("init", "-q", "-b", "main")
    made.rules({"staging": ["ana"], "prod": ["ben"]})
    return made


@pytest.fixture
def as_person(repository: SealedRepository, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """`as_person("ana", "ben")`: whose keys are at hand from now on."""

    def become(*names: str) -> None:
        keys = "\n".join(repository.person(name).file.read_text() for name in names)
        monkeypatch.setenv("SOPS_AGE_KEY", keys)

    return become


@pytest.fixture(autouse=True)
def cheap_digests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses cost nearly nothing here, but where their cost is what is tested (fixture `full_cost`)."""
    if "full_cost" not in request.fixturenames:
        monkeypatch.setitem(SCRYPT, "n", 2**8)


@pytest.fixture
def full_cost() -> None:
    """Digests at their real cost."""


SOURCE = Path(__file__).parents[2]


@pytest.fixture
def source() -> Path:
    """This project's own repository."""
    return SOURCE


@pytest.fixture
def deployment(repository: SealedRepository) -> SealedRepository:
    """The repository with this project's charts, values and environments; no sealed file yet."""
    for name in ("mybinder", "charts", "config"):
        shutil.copytree(SOURCE / name, repository.root / name)
    shutil.copy(SOURCE / "binderops.yaml", repository.root)
    (repository.root / ".gitignore").write_text("mybinder/charts/\n")
    repository.commit("begin")
    return repository


@pytest.fixture
def program() -> list[str]:
    """`binderops secrets`, as a program."""
    return [sys.executable, "-c", "from binderops.cli import main; main()", "secrets"]


@pytest.fixture
def run(deployment: SealedRepository, program: list[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """`run("set", "staging", KEY, give="…")`: one command in the deployment's folder."""

    def call(*arguments: str, give: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(deployment.root)
        done = CliRunner().invoke(app, ["secrets", *arguments], input=give)
        told = "".join(traceback.format_exception(done.exception)) if not_an_exit(done.exception) else ""
        return subprocess.CompletedProcess([*program, *arguments], done.exit_code, done.stdout, done.stderr + told)

    register_commands()
    return call


_MADE: dict[str, tuple[Path, dict[str, Person]]] = {}


@pytest.fixture
def both(deployment: SealedRepository, as_person, run, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Staging and prod, each generated whole by a reader of its own; made once, then copied."""
    if "both" not in _MADE:
        for name, environment in (("ana", "staging"), ("ben", "prod")):
            as_person(name)
            assert run("generate", environment).returncode == 0
        deployment.commit()
        kept = tmp_path_factory.mktemp("both") / "kept"
        shutil.copytree(deployment.root, kept, symlinks=True)
        _MADE["both"] = (kept, dict(deployment.people))
        return deployment
    kept, people = _MADE["both"]
    shutil.rmtree(deployment.root)
    shutil.copytree(kept, deployment.root, symlinks=True)
    deployment.people = {}
    for name, person in people.items():
        file = deployment.root.parent / "keys" / person.file.name
        shutil.copy(person.file, file)
        deployment.people[name] = Person(name, person.key, file)
    return deployment


def not_an_exit(error: BaseException | None) -> bool:
    """Whether a command ended with an error that nobody answered."""
    return error is not None and not isinstance(error, SystemExit)
