"""The profile of system calls, as the distribution's becomes it. `e2e/test_e2e_hostile_host` tries what it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from binderops.seccomp import SYSTEM_PROFILE, narrowed, write_profile


def _allowed_to_all(profile: dict[str, Any]) -> set[str]:
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args") and not (rule.get("includes") or {}).get("caps")
        for name in rule["names"]
    }


def test_what_the_distribution_allows_and_we_do_not() -> None:
    system = json.loads(SYSTEM_PROFILE.read_text())
    before, after = _allowed_to_all(system), _allowed_to_all(narrowed(system))
    assert after < before
    assert {"unshare", "mount", "clone3"} <= before - after, "the guard has something to do here"
    assert {"read", "execve", "futex", "fork", "connect", "ptrace"} <= after
    assert json.loads(SYSTEM_PROFILE.read_text()) == system


def test_a_newer_profile_that_allows_more_is_narrowed_too() -> None:
    names = ["io_uring_setup", "userfaultfd", "socket", "clone", "read"]
    newer = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW", "args": []}],
    }
    after = narrowed(newer)
    assert _allowed_to_all(after) == {"read"}
    # socketcall(2) of 32-bit programs hides from a filter which family is asked for.
    assert after["archMap"] == [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]


def test_it_is_written_once_and_only_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "seccomp.json"
    assert not write_profile(path, source=tmp_path / "none")
    assert not path.exists()
    assert write_profile(path)
    written = path.stat().st_ino
    assert write_profile(path)
    assert path.stat().st_ino == written
    assert path.stat().st_mode & 0o777 == 0o600
