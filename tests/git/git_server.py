"""A real git repository, served by git's own daemon on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.programs import program

IDENTITY = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **IDENTITY},
    )
    return answer.stdout.strip()


@dataclass(frozen=True)
class GitServer:
    port: int
    root: Path

    def url(self, name: str) -> str:
        return f"git://127.0.0.1:{self.port}/{name}"

    def make(self, name: str, files: dict[str, str]) -> Path:
        folder = self.root / name
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
        return folder


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    git_program = program("git")
    root = tmp_path_factory.mktemp("git")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    arguments = [
        f"--base-path={root}",
        "--export-all",
        "--reuseaddr",
        "--listen=127.0.0.1",
        f"--port={port}",
        str(root),
    ]
    daemon = f"{subprocess.check_output([git_program, '--exec-path'], text=True).strip()}/git-daemon"
    # The repositories belong to whoever runs the tests, the daemon asks for its own user's.
    process = subprocess.Popen([daemon, *arguments], env={**os.environ, **IDENTITY})
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield GitServer(port, root)
    finally:
        process.terminate()
        process.wait(timeout=10)
