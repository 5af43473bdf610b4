"""The page on secrets: each of its commands runs, in its order; the page on findings: each id has its row."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate/secrets.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
    if line.startswith("$ ")
]
# A file and a key that git-crypt 0.7.0 wrote.
LOCKED = (
    "AEdJVENSWVBUACowRIZ+FBlGVOYTZXl/z5fRzwILkqwjj0OczAt6Myb6fCGkPEMxG70VgJ+Ssthm37jDi1txXEWG"
    "dD77kAbt3ZMik4UzAipnDE2Zxw=="
)
EXPORTED = (
    "AEdJVENSWVBUS0VZAAAAAgAAAAAAAAABAAAABAAAAAAAAAADAAAAILvQS1yuGB3PRnOXx+1aq3gsTpXR4oVesrnXAfyqr7jEAAAABQAAAED4Y5JC"
    "//s3fvoWwLVrptX/+3uaNf0Fn2VFOpclI4rnC0/CGFUXLjJyrRaVR9B9EMdJEqcCPNbPV1PsRt4QzwlcAAAAAA=="
)


def test_a_new_operator_follows_the_page(tmp_path: Path) -> None:
    from binderops.secrets.identities import new_identity

    repository, home, tools = tmp_path / "deploy", tmp_path / "home", tmp_path / "bin"
    for folder in (repository, home, tools):
        folder.mkdir()
    for name in ("mybinder", "charts", "config"):
        shutil.copytree(ROOT / name, repository / name)
    shutil.copy(ROOT / "binderops.yaml", repository)
    (repository / "username.txt").write_text("robot\n")
    program = tools / "binderops"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from binderops.cli import main; main()' \"$@\"\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(home), "EDITOR": "sed -i s/x/y/"}

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", command],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert shell("git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm begin").returncode == 0
    old = tmp_path / "old"
    (old / "secrets/config").mkdir(parents=True)
    (old / "secrets/config/prod.yaml").write_bytes(base64.b64decode(LOCKED))
    (old / ".gitattributes").write_text("secrets/** filter=git-crypt diff=git-crypt\n")
    (tmp_path / "exported.key").write_bytes(base64.b64decode(EXPORTED))
    assert shell(f"git -C {old} init -q && git -C {old} add .").returncode == 0
    environment |= {"OLD": str(old), "EXPORTED_KEY": str(tmp_path / "exported.key")}

    for command in COMMANDS:
        if "--remove ben" in command:
            key = new_identity()[1]
            assert shell(f"binderops secrets readers staging --add {key} --name ben").returncode == 0
        done = shell(command)
        if command == "binderops secrets check" and (repository / "secret/config/prod.yaml").exists():
            # What came from git-crypt has one reader for both, and a weak password: that is what the check is for.
            assert done.returncode == 1, done.stdout
            assert {"secrets.reader-of-both", "secrets.weak"} <= set(re.findall(r"secrets\.[a-z-]+", done.stdout))
        else:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if command == "binderops secrets new-key":
            found = re.search(r"age1[a-z0-9]+", done.stdout)
            assert found is not None
            environment["YOUR_KEY"] = found[0]
    assert len(COMMANDS) >= 12


def test_the_page_has_each_command_of_secrets() -> None:
    reference = (ROOT / "docs/operate/commands.md").read_text(encoding="utf-8")
    commands = re.findall(r"^## binderops secrets ([a-z-]+)$", reference, re.M)
    assert len(commands) >= 10
    assert [one for one in commands if f"secrets {one}" not in PAGE] == []


def findings_in_code() -> set[str]:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/binderops").rglob("*.py"))
    named = set(re.findall(r'Finding\(\s*"([a-z]+\.[a-z-]+)"', text))
    return (
        named
        | set(re.findall(r'identity = .*?"(secrets\.[a-z-]+)"', text))
        | set(re.findall(r'"(secrets\.unreadable)"', text))
    )


def test_every_finding_has_its_row_and_no_row_is_left_over() -> None:
    page = (ROOT / "docs/operate/findings.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|", page, re.M))
    secrets = {one for one in findings_in_code() if one.startswith("secrets.")} | {
        "secrets.not-sealed",
        "secrets.broken",
    }
    assert {one for one in rows if one.startswith("secrets.")} == secrets


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_the_demonstration_keys_are_those_that_are_refused(environment: str) -> None:
    import pyrage

    from binderops.secrets.demonstration import DEMONSTRATION_KEYS

    text = (ROOT / f"examples/keys/demonstration-{environment}.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-1"))
    public = str(pyrage.x25519.Identity.from_str(line).to_public())
    assert DEMONSTRATION_KEYS[public] == f"demonstration-{environment}"
    assert "DEMONSTRATION" in text and public in text
