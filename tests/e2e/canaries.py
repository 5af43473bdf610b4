"""Sealed values as canaries: looked for in what commands say, in the processes that they start, in what they leave."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binderops.secrets.layers import open_layer
from binderops.secrets.sharing import candidates
from binderops.secrets.values import reveal_for_helm

_PAUSE = 0.02  # seconds between two looks at the processes


@dataclass
class Canaries:
    """The forms of every credential that was read so far, and where one was met."""

    forms: dict[str, str] = field(default_factory=dict, repr=False)
    leaks: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)

    def read(self, root: Path) -> None:
        """Takes the credentials of every sealed layer that the keys at hand open."""
        for path in sorted((root / "secret/config").glob("*.yaml")):
            if path.name.endswith(".digests.yaml"):
                continue
            for one in candidates(open_layer(path, name=f"secret/config/{path.name}")):
                if one.is_credential:
                    self.add(f"{path.stem}: {one.path}", str(reveal_for_helm(one.secret)))

    def add(self, name: str, value: str) -> None:
        """One value: as it is, in base64, and the longest line of a PEM text."""
        longest = max(value.split("\n"), key=len)
        for form in (value.strip(), longest, base64.b64encode(value.encode()).decode()[:40]):
            assert len(form) >= 16, "too short to be told from innocent words"
            self.forms[form] = name

    def found_in(self, text: str) -> list[str]:
        """The names of those that stand in a text."""
        return sorted({name for form, name in self.forms.items() if form in text})

    def found_below(self, *folders: Path) -> list[str]:
        """Files that hold one."""
        found = []
        for path in (path for folder in folders for path in folder.rglob("*")):
            with suppress(OSError):
                if path.is_file() and (names := self.found_in(path.read_text(errors="replace"))):
                    found.append(f"{path}: {names}")
        return found

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Looks at command line and environment of a process and of all that it starts, as often as it can.

        A node is looked at, and not what it starts: its pods have their Secrets.
        """
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                for found in _family(pid):
                    self._look(found)
                time.sleep(_PAUSE)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _look(self, pid: int) -> None:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            self.processes.add(Path(command.split("\0")[0]).name)
            for part in ("cmdline", "environ"):
                if names := self.found_in(Path(f"/proc/{pid}/{part}").read_text(errors="replace")):
                    self.leaks.append(f"{part} of {command[:200]}: {names}")


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        if "binderops.node" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"):
            return
        for task in Path(f"/proc/{pid}/task").iterdir():
            children: Any = (task / "children").read_text(encoding="ascii").split()
            for child in children:
                yield from _family(int(child))
