"""Which system calls strangers' programs may use: the distribution's profile for containers, made narrower.

The one that comes with Debian's containers-common lets everybody make user namespaces (in one, a program is root over
new network and mount namespaces: most of what the kernel was broken by in the last years lies behind that), and open
sockets of every family. Sockets of virtual machines (AF_VSOCK) have no namespace: they lead to whatever the machine's
hypervisor listens with, past every rule of the network. Other engines' defaults refuse both.
"""

from __future__ import annotations

import copy
import errno
import json
from pathlib import Path
from typing import Any

SYSTEM_PROFILE = Path("/usr/share/containers/seccomp.json")
"""The profile of containers-common, which Podman and Buildah depend on."""

_ADMIN = "CAP_SYS_ADMIN"
# For whoever has SYS_ADMIN over the namespace that the container was started in; else refused.
_FOR_ADMINS = frozenset(
    {"unshare", "setns", "mount", "umount", "umount2", "pivot_root", "mount_setattr", "move_mount", "open_tree"}
    | {"fsopen", "fsconfig", "fsmount", "fspick", "bpf", "perf_event_open", "fanotify_init", "quotactl"}
    | {"lookup_dcookie"}
)
# For nobody: large surfaces that have a substitute.
_FOR_NOBODY = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd"})
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}, clone(2)
_NETLINK, _AUDIT = 16, 9
_FAMILIES = frozenset({1, 2, 10, 17})  # AF_UNIX, AF_INET, AF_INET6, AF_PACKET; netlink has rules of its own

Rule = dict[str, Any]


def narrowed(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile (containers-common's JSON) without what the module's head names; the given one is left as it is."""
    taken = _FOR_ADMINS | _FOR_NOBODY | {"clone", "clone3", "socket"}
    rules = []
    for rule in copy.deepcopy(profile["syscalls"]):
        rule["names"] = [name for name in rule["names"] if name not in taken]
        if rule["names"]:
            rules.append(rule)
    rules += [
        _allow(*sorted(_FOR_ADMINS), only_with=_ADMIN),
        _refuse(*sorted(_FOR_ADMINS), number=errno.EPERM, unless=_ADMIN),
        _refuse(*sorted(_FOR_NOBODY), number=errno.ENOSYS),
        _allow("clone", "clone3", only_with=_ADMIN),
        # Its flags lie in memory, where no filter looks: the C library then uses clone.
        _refuse("clone3", number=errno.ENOSYS, unless=_ADMIN),
        _allow("clone", unless=_ADMIN, args=[_argument(0, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ")]),
        *_sockets(),
    ]
    # Of 32-bit programs no filter sees the arguments of socket(2): they come by socketcall(2).
    own = [{**entry, "subArchitectures": []} for entry in profile.get("archMap") or []]
    return {**profile, "archMap": own, "syscalls": rules}


def write_profile(path: Path, *, source: Path = SYSTEM_PROFILE) -> bool:
    """Write the narrowed profile at `path`; False where the distribution has none to begin with."""
    if not source.is_file():
        return False
    text = json.dumps(narrowed(json.loads(source.read_text())))
    if not path.exists() or path.read_text() != text:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(path)
    return True


def _sockets() -> list[Rule]:
    """Families that a server needs; the others do not exist (the profile's default). Refusing one by name as well is
    a conflict for libseccomp.
    """
    audit = "CAP_AUDIT_WRITE"
    return [
        *(_allow("socket", args=[_argument(0, family)]) for family in sorted(_FAMILIES)),
        _allow("socket", only_with=audit, args=[_argument(0, _NETLINK)]),
        _allow("socket", unless=audit, args=[_argument(0, _NETLINK), _argument(2, _AUDIT, "SCMP_CMP_NE")]),
    ]


def _allow(*names: str, only_with: str = "", unless: str = "", args: list[Rule] | None = None) -> Rule:
    return _rule("SCMP_ACT_ALLOW", names, only_with, unless, args or [])


def _refuse(*names: str, number: int, unless: str = "") -> Rule:
    return {**_rule("SCMP_ACT_ERRNO", names, "", unless, []), "errnoRet": number}


def _rule(action: str, names: tuple[str, ...], only_with: str, unless: str, args: list[Rule]) -> Rule:
    return {
        "names": list(names),
        "action": action,
        "args": args,
        "comment": "",
        "includes": {"caps": [only_with]} if only_with else {},
        "excludes": {"caps": [unless]} if unless else {},
    }


def _argument(index: int, value: int, comparison: str = "SCMP_CMP_EQ") -> Rule:
    # With MASKED_EQ, `value` is the mask, and what remains must be `valueTwo`.
    return {"index": index, "value": value, "valueTwo": 0, "op": comparison}
