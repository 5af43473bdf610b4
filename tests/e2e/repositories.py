"""Git repositories, served by git's own daemon on a host of the tests' own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.networks import Host
from tests.git.git_server import git

GIT_PORT = 9418
EMPTY_NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@dataclass(frozen=True)
class Repositories:
    """What the git server at `host` serves from `root`."""

    host: Host
    root: Path

    def start(self) -> None:
        """Starts git's daemon there."""
        program = Path(subprocess.check_output(["git", "--exec-path"], text=True, timeout=20).strip()) / "git-daemon"
        self.host.start(
            *("env", f"HOME={os.devnull}", str(program), "--export-all", "--reuseaddr"),
            *(f"--base-path={self.root}", f"--listen={self.host.address}", str(self.root)),
            port=GIT_PORT,
        )

    def add(self, name: str, files: dict[str, str]) -> str:
        """Makes a repository with one commit of these files on `main`; its URL."""
        folder = self.root / name
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        self.commit(name, files)
        return self.url(name)

    def commit(self, name: str, files: dict[str, str]) -> str:
        """One more commit; its object name."""
        folder = self.root / name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "a commit")
        return git(folder, "rev-parse", "HEAD")

    def url(self, name: str) -> str:
        """git://ADDRESS/NAME."""
        return f"git://{self.host.address}/{name}"
