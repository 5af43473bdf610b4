"""Every program that the project or its tests start is brought by a package in scripts/system-packages."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.programs import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 60
BASIC = "${Package} ${Essential} ${Priority}\n"
# The README asks for these; they are there before the first verb.
THERE = {"git", "make"}
# Looked for, and done without: npm comes with the wheel of Node, firewalls only matter where there is one.
OPTIONAL = {"npm", "iptables", "iptables-nft", "iptables-legacy", "ufw", "firewall-cmd"}
# What runs in images only, and how they get it: buildah by images/build/Containerfile.
INSIDE = {"buildah"}
# A list of words that begins as an argument list would.
WORDS = {"red"}
_STARTS = {"run", "which", "program", "run_program", "create_subprocess_exec", "Popen", "capture", "output"}


def listed(*options: str) -> set[str]:
    """What scripts/system-packages would install."""
    command = [str(ROOT / "scripts" / "system-packages"), *options, "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return set(done.stdout.split())


def dpkg(format_: str, *packages: str) -> str:
    command = ["dpkg-query", "--show", f"--showformat={format_}", *packages]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout


def packages_of(paths: Iterable[str]) -> dict[str, str]:
    """The package of each path that has one."""
    # On a merged /usr a package may say /sbin for what lies in /usr/sbin.
    command = ["dpkg", "--search", *(each for path in paths for each in (path, path.removeprefix("/usr")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = (line.split(": ") for line in done.stdout.splitlines() if not line.startswith("diversion"))
    return {f"/usr{path.removeprefix('/usr')}": packages.split(",")[0].split(":")[0] for packages, path in lines}


@cache
def programs(folder: str) -> dict[str, str]:
    """Path of each installed program that begins an argument list or a call, and one place where it does."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            for name in _first_words(node):
                if name not in OPTIONAL | WORDS and (path := shutil.which(name, path=FOLDERS)):
                    found.setdefault(path, f"{file.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def _first_words(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.List(elts=[ast.Constant(value=str(word)), _, *_]):
            pass
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(word)), *_]):
            if called.lstrip("_") not in _STARTS:
                return
        case _:
            return
    if re.fullmatch(r"[a-z][a-z0-9.+-]*", word):
        yield word


@pytest.mark.parametrize(("folder", "options"), [("src", ()), ("bench", ()), ("tests", ("--tests",))])
def test_every_program_is_installed_by_the_verbs(folder: str, options: tuple[str, ...]) -> None:
    there = listed(*options)
    assert {"podman", "git"} <= there
    brought = there | set(re.findall(r"[a-z0-9][a-z0-9.+-]+", dpkg("${Depends}\n", *sorted(there)))) | THERE
    brought |= INSIDE if folder == "src" else set()
    packages = packages_of(programs(folder))
    basic = re.findall(
        r"^(\S+) (?:yes .*|no required|no important)$", dpkg(BASIC, *set(packages.values())), re.MULTILINE
    )
    missing = [
        f"{Path(path).name} ({packages.get(path, 'of no package')}), started at {place}"
        for path, place in programs(folder).items()
        if packages.get(path) not in {*brought, *basic}
    ]
    assert missing == [], "add their packages to scripts/system-packages"


def test_the_search_finds_them() -> None:
    found = {Path(path).name for path in [*programs("src"), *programs("tests")]}
    assert {"podman", "nft", "ip", "git", "nginx", "mmdebstrap", "docker-registry", "conntrack"} <= found


def test_what_failures_of_tests_name_is_installed() -> None:
    assert set(PACKAGES.values()) <= listed("--tests")
