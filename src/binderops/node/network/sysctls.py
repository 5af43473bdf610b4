"""Kernel settings that nodes change: what they were before is recorded, and put back when the last node goes.

The record is the machine's, not a node's: nodes share the kernel, and the first to go must not stop the others'
forwarding. It lies in /run, since a restart of the machine undoes both the change and the need to undo it. Settings of
interfaces that a node makes are not recorded: they go with the interface.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from binderops.errors import NetworkError
from binderops.node.files import LOCK_SECONDS, locked, write_whole

RECORD = Path("/run/binderops-sysctls.json")

_ROOT = Path("/proc/sys")


def write_sysctls(settings: Mapping[str, str]) -> None:
    """Write settings given by path below /proc/sys (`net/ipv4/ip_forward`); NetworkError when the kernel refuses."""
    for name, value in settings.items():
        try:
            (_ROOT / name).write_text(value, encoding="ascii")
        except OSError as error:
            raise NetworkError(
                "a kernel setting cannot be changed", where=f"/proc/sys/{name}", why=str(error)
            ) from None


class SysctlRecord:
    """The settings that nodes have changed, in `path` (JSON: name to the value before).

    Nodes that start or go together wait for one another, `seconds` at most.
    """

    def __init__(self, path: Path = RECORD, *, seconds: float = LOCK_SECONDS) -> None:
        self._path = path
        self._seconds = seconds

    def change(self, settings: Mapping[str, str]) -> None:
        """Change the settings that differ; the first change of each is recorded before it is made."""
        with self._held():
            self._change(settings)

    def raise_to(self, settings: Mapping[str, int]) -> None:
        """Change the settings that are lower."""
        with self._held():
            self._change(
                {name: str(least) for name, least in settings.items() if int((_ROOT / name).read_text()) < least}
            )

    def restore(self, *, but: Collection[str] = (), unless: Callable[[], bool] = lambda: False) -> dict[str, str]:
        """Put every recorded setting back, those in `but` excepted, and forget the record; what was left as it is.

        Nothing happens where `unless`, asked once nobody else can change settings, says that they are needed.
        """
        with self._held():
            if unless():
                return {}
            recorded = self._read()
            left = {name: (_ROOT / name).read_text(encoding="ascii").strip() for name in recorded if name in but}
            write_sysctls({name: value for name, value in recorded.items() if name not in left})
            self._path.unlink(missing_ok=True)
            return left

    def _change(self, settings: Mapping[str, str]) -> None:
        before = self._read()
        current = {name: (_ROOT / name).read_text(encoding="ascii").strip() for name in settings}
        wanted = {name: value for name, value in settings.items() if current[name] != value}
        if not wanted:
            return
        record = {name: current[name] for name in wanted} | before
        write_whole(self._path, json.dumps(record, indent=1), durable=False)  # it lies below /run
        write_sysctls(wanted)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._path.parent, seconds=self._seconds):
                yield
        except OSError as error:
            raise NetworkError(
                "the record of kernel settings cannot be kept", where=str(self._path), why=str(error)
            ) from error

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise NetworkError(
                "the record of kernel settings is damaged", where=str(self._path), why=str(error)
            ) from None
        return {str(name): str(value) for name, value in record.items()}
