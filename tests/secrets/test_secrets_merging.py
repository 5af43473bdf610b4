"""Merges of sealed files by the real git; and three-way merges in general."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binderops.secrets.layers import open_layer
from binderops.secrets.values import reveal_for_helm

BASE = "# ours\na: one\nb:\n    c: two\n    d: three\nlist:\n    - x\nf: four\n"


@pytest.fixture
def branches(repository: Any, as_person: Callable[..., None], program: list[str], tmp_path: Path) -> Any:
    """A repository whose git uses the driver, with a sealed file on `main`, and a branch `theirs`."""
    as_person("ana")
    (repository.root / "binderops.yaml").write_text("environments: {}\n")
    script = tmp_path / "binderops"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(program[:-1])} "$@"\n')
    script.chmod(0o755)
    from binderops.secrets.merging import install

    repository.seal("secret/config/staging.yaml", BASE)
    assert install(repository.root, str(script)) == (".git/config", ".gitattributes")
    repository.commit()
    repository.git("branch", "theirs")
    return repository


def change(repository: Any, branch: str, *changes: tuple[str, str | None]) -> None:
    repository.git("checkout", "-q", branch)
    for key, value in changes:
        index = "".join(f"[{part if part.isdigit() else json.dumps(part)}]" for part in key.split("."))
        if value is None:
            repository.sops("unset", "secret/config/staging.yaml", index)
        else:
            repository.sops("set", "secret/config/staging.yaml", index, value)
    repository.commit(f"on {branch}")


def merge(repository: Any) -> subprocess.CompletedProcess[str]:
    repository.git("checkout", "-q", "main")
    return subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", "merge", "-m", "merged", "theirs"],
        cwd=repository.root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def values(repository: Any) -> Any:
    return reveal_for_helm(open_layer(repository.root / "secret/config/staging.yaml").values)


def test_both_sides_changes_are_kept(branches: Any) -> None:
    change(branches, "theirs", ("b.c", '"THEIRS"'), ("new", "5"), ("f", None), ("list.1", '"y"'))
    change(branches, "main", ("a", '"OURS"'), ("b.d", '"OURS"'))
    before = branches.root.joinpath("secret/config/staging.yaml").read_text()
    done = merge(branches)
    assert done.returncode == 0, done.stdout + done.stderr
    assert values(branches) == {"a": "OURS", "b": {"c": "THEIRS", "d": "OURS"}, "list": ["x", "y"], "new": 5}
    after = branches.root.joinpath("secret/config/staging.yaml").read_text()
    ours = [line for line in before.splitlines() if line.strip().startswith(("a:", "d:"))]
    assert all(line in after for line in ours), "what they did not touch keeps its ciphertext"
    assert "# ours" in branches.sops("decrypt", "secret/config/staging.yaml")


def test_the_same_change_on_both_sides_is_no_conflict(branches: Any) -> None:
    change(branches, "theirs", ("a", '"same"'))
    change(branches, "main", ("a", '"same"'))
    assert merge(branches).returncode == 0
    assert values(branches)["a"] == "same"


def test_a_conflict_is_named_and_the_file_stays_whole(branches: Any) -> None:
    change(branches, "theirs", ("a", '"canary-theirs"'), ("b.c", '"taken"'))
    change(branches, "main", ("a", '"canary-ours"'))
    done = merge(branches)
    assert done.returncode == 1
    assert "a: both changed it" in done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert "secret/config/staging.yaml" in branches.git("diff", "--name-only", "--diff-filter=U")
    assert values(branches) == {"a": "canary-ours", "b": {"c": "taken", "d": "three"}, "list": ["x"], "f": "four"}
    assert "<<<<" not in branches.root.joinpath("secret/config/staging.yaml").read_text()


def test_types_count(branches: Any) -> None:
    change(branches, "theirs", ("a", "1"))
    change(branches, "main", ("a", '"1"'))
    assert merge(branches).returncode == 1


def test_a_reader_that_they_added_is_added(branches: Any) -> None:
    branches.git("checkout", "-q", "theirs")
    branches.sops("rotate", "-i", "--add-age", branches.person("cleo").key, "secret/config/staging.yaml")
    branches.commit()
    change(branches, "main", ("a", '"OURS"'))
    assert merge(branches).returncode == 0
    text = branches.root.joinpath("secret/config/staging.yaml").read_text()
    assert branches.person("cleo").key in text
    assert values(branches)["a"] == "OURS"


def test_without_a_key_git_keeps_ours(branches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change(branches, "theirs", ("b.c", '"THEIRS"'))
    change(branches, "main", ("a", '"OURS"'))
    monkeypatch.delenv("SOPS_AGE_KEY")
    branches.git("checkout", "-q", "main")
    before = branches.root.joinpath("secret/config/staging.yaml").read_bytes()
    done = merge(branches)
    assert done.returncode == 1 and "none of your keys opens" in done.stderr
    assert branches.root.joinpath("secret/config/staging.yaml").read_bytes() == before


def test_digests_of_both_sides_are_kept(branches: Any) -> None:
    file = branches.root / "secret/config/staging.digests.yaml"
    entry = "- path: {0}\n  sealed: '{0}'\n  digest: none\n"

    def write(*names: str) -> None:
        head = "# made\nscrypt: {n: 32768, r: 12, p: 1}\ndigests:\n"
        file.write_text(head + "".join(entry.format(name) for name in names))

    write("a")
    branches.commit()
    branches.git("branch", "-f", "theirs")
    branches.git("checkout", "-q", "theirs")
    write("a", "b")
    branches.commit()
    branches.git("checkout", "-q", "main")
    write("a", "c")
    branches.commit()
    assert merge(branches).returncode == 0
    assert [line.split()[-1] for line in file.read_text().splitlines() if "path" in line] == ["a", "c", "b"]
