"""scripts/system-packages with the real apt, on a copy of this machine's files and with packages of the test's own."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")]

MINE, THEIRS = "ufw", "theirs"  # one of the script's packages, and one that the machine's operator has
UNIT = "/etc/systemd/system/multi-user.target.wants/mine.service"
# As debhelper's: the service is enabled, and started unless policy-rc.d forbids it.
POSTINST = f"""#!/bin/sh
set -e
mkdir -p {Path(UNIT).parent}
ln -s /lib/systemd/system/mine.service {UNIT}
/usr/sbin/policy-rc.d mine start || exit 0
touch /started
"""
# Becomes a machine with these files below, whose apt knows the test's packages alone.
INSIDE = f"""
set -eu
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount --rbind /dev dev; mount --rbind /proc proc
mkdir -p repository script; mount --bind "$1/repository" repository; mount --bind "$2" script
rm -rf etc/apt/sources.list etc/apt/sources.list.d etc/apt/apt.conf.d usr/sbin/policy-rc.d var/lib/apt/lists
echo 'deb [trusted=yes] file:/repository ./' > etc/apt/sources.list
chroot . dpkg --purge --force-depends {MINE} > /dev/null
chroot . dpkg --install repository/{THEIRS}.deb > /dev/null
chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /script/system-packages --tests && code=0 || code=$?
echo "exit $code"
chroot . dpkg-query --show --showformat='${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {MINE} {THEIRS} || :
ls -d .{UNIT} started usr/sbin/policy-rc.d 2> /dev/null || :
"""


def package(folder: Path, name: str, version: str, *, conflicts: str = "", postinst: str = "") -> str:
    """Builds a package; returns its entry for the list of a repository."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: tests\nDescription: of the tests\n"
    control += f"Conflicts: {conflicts}\n" * bool(conflicts)
    (folder / name / "DEBIAN").mkdir(parents=True)
    (folder / name / "DEBIAN" / "control").write_text(control)
    if postinst:
        (folder / name / "DEBIAN" / "postinst").write_text(postinst)
        (folder / name / "DEBIAN" / "postinst").chmod(0o755)
    file = folder / f"{name}.deb"
    command = ["dpkg-deb", "--build", "--root-owner-group", str(folder / name), str(file)]
    subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
    content = file.read_bytes()
    return f"{control}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"


Install = Callable[..., list[str]]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Runs the script where one of its packages is missing; returns what is then there, a line each."""

    def run(script: str, *, conflicts: str = "", postinst: str = "") -> list[str]:
        for name in ("upper", "work", "root", "repository", "script"):
            (tmp_path / name).mkdir()
        entries = package(tmp_path / "repository", MINE, "99", conflicts=conflicts, postinst=postinst)
        package(tmp_path / "repository", THEIRS, "1")
        (tmp_path / "repository" / "Packages").write_text(entries)
        (tmp_path / "script" / "system-packages").write_text(script)
        (tmp_path / "script" / "system-packages").chmod(0o755)
        command = ["unshare", "--mount", "bash", "-c", INSIDE, "bash", str(tmp_path), str(tmp_path / "script")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.splitlines()

    return run


@pytest.fixture
def script() -> str:
    return (ROOT / "scripts" / "system-packages").read_text()


def test_every_installation_has_the_word() -> None:
    files = [ROOT / "Makefile", *(path for path in (ROOT / "scripts").iterdir() if path.is_file())]
    lines = [line for file in files for line in file.read_text().splitlines()]
    lines = [line for line in lines if re.search(r"apt(-get)? .*install", line) and "echo" not in line]
    assert len(lines) >= 2, "system-packages and environment"
    assert [line for line in lines if "--no-remove" not in line] == []


def test_no_package_of_the_operators_is_removed(install: Install, script: str) -> None:
    found = install(script, conflicts=THEIRS)
    assert f"{THEIRS} 1 installed" in found
    assert "exit 0" not in found and f"{MINE} 99 installed" not in found


def test_without_the_word_it_would_be(install: Install, script: str) -> None:
    found = install(script.replace(" --no-remove", ""), conflicts=THEIRS)
    assert f"{THEIRS} 1 installed" not in found and f"{MINE} 99 installed" in found


def test_what_is_installed_neither_starts_nor_will(install: Install, script: str) -> None:
    found = install(script, postinst=POSTINST)
    assert f"{MINE} 99 installed" in found and "exit 0" in found
    assert f".{UNIT}" not in found and "started" not in found
    assert "usr/sbin/policy-rc.d" not in found, "what forbade it is taken away"


def test_without_that_care_it_would(install: Install, script: str) -> None:
    found = install(script.replace("exit 101", "exit 0").replace('rm -f "$link"', ":"), postinst=POSTINST)
    assert f".{UNIT}" in found and "started" in found
