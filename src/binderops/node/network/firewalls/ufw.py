"""ufw denies what is routed and what comes in; `ufw route allow` and `ufw allow` open it for a node's pods.

It keeps its rules in files: they are there after its reloads and the machine's restarts, also while it is disabled.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from binderops.node.config import NodeConfig
from binderops.node.network.programs import run_program

_SWITCH, _RULES = Path("/etc/ufw/ufw.conf"), Path("/etc/ufw/user.rules")


class Ufw:
    """Its rules by its own program."""

    def __init__(self, config: NodeConfig) -> None:
        self._range = config.pod_range
        self._comment = f"binderops-{config.name}"
        self._rules = (
            ("route", "allow", "from", config.pod_range),
            ("route", "allow", "to", config.pod_range),
            ("allow", "from", config.pod_range, "to", config.bridge_address),
        )

    def missing(self) -> Iterator[tuple[str, ...]]:
        """The rules that it lacks, whoever made them."""
        if not shutil.which("ufw") or not _enabled() or self._in_force():
            return
        if "Status: active" not in run_program(["ufw", "status"], check=False).stdout:
            return
        known = _added()
        for rule in self._rules:
            if not any(_same(line, rule) for line in known):
                yield ("ufw", *rule, "comment", self._comment)

    def remove(self) -> list[str]:
        """Takes away the rules that carry the node's name; nothing stays."""
        if not shutil.which("ufw") or not _RULES.exists() or self._range not in _RULES.read_text(encoding="utf-8"):
            return []
        known = _added()
        for rule in self._rules:
            if any(_same(line, rule) and line.endswith(f" comment '{self._comment}'") for line in known):
                command = ("route", "delete", *rule[1:]) if rule[0] == "route" else ("delete", *rule)
                run_program(["ufw", *command])
        return []

    def _in_force(self) -> bool:
        """By what the kernel has: its program takes half a second to say the same."""
        routed, coming = (_chain(f"ufw-user-{name}") for name in ("forward", "input"))
        wanted = (f"saddr {self._range} counter", f"daddr {self._range} counter")
        return all(text in routed for text in wanted) and f"saddr {self._range} " in coming


def _enabled() -> bool:
    return _SWITCH.exists() and re.search(r"(?im)^ENABLED=yes\s*$", _SWITCH.read_text(encoding="utf-8")) is not None


def _added() -> list[str]:
    return run_program(["ufw", "show", "added"], check=False).stdout.splitlines()


def _same(line: str, rule: tuple[str, ...]) -> bool:
    text = " ".join(("ufw", *rule))
    return line == text or line.startswith(f"{text} comment ")


def _chain(name: str) -> str:
    return run_program(["nft", "list", "chain", "ip", "filter", name], check=False).stdout
