"""Who holds a Lease: a person's command, as a process that can be found again where it runs on this very kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from binderops.delivery.ledger import who


@dataclass(frozen=True)
class Holder:
    """`kernel` is one boot of one machine and one namespace of process ids; `started` is in its clock's ticks."""

    person: str
    pid: int
    started: int
    kernel: str

    @classmethod
    def mine(cls) -> Self:
        """This process."""
        return cls(who(), os.getpid(), _started(os.getpid()) or 0, _kernel())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `text` told; None for nobody. Of others' Leases nothing is known but that somebody holds them."""
        if not text:
            return None
        try:
            person, pid, started, kernel = text.rsplit(" ", 3)
            return cls(person, int(pid), int(started), kernel)
        except ValueError:
            return cls(text, 0, 0, "")

    @property
    def text(self) -> str:
        """As it stands in a Lease."""
        return f"{self.person} {self.pid} {self.started} {self.kernel}"

    @property
    def words(self) -> str:
        """As people read it."""
        return f"{self.person}, process {self.pid}" if self.pid else self.person

    def has_ended(self) -> bool:
        """Whether its process is known to be gone: it ran here, and there is no such process any more."""
        return self.kernel == _kernel() and _started(self.pid) != self.started


def _kernel() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


def _started(pid: int) -> int | None:
    """When a process began; None where there is none, or one that has ended and is not yet waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()
    return None if words[0] in {"Z", "X"} else int(words[19])
