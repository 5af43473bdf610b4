"""Whether this machine can be a node, looked at before anything is changed; each refusal names the way out."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from binderops.errors import MachineError

SUPPORTED = {("debian", "12"), ("debian", "13"), ("ubuntu", "24.04")}
ARCHITECTURES = {"x86_64"}
NEEDED_PROGRAMS = ("podman", "nft", "ip", "conmon", "nsenter", "unshare")
SPACE_WANTED = 8 * 1024**3  # bytes: the platform's images, unpacked, and room for a few users' images
SPACE_NEEDED = 1 * 1024**3  # bytes: below this an overlay store and a database cannot be trusted to work


@dataclass(frozen=True)
class Distribution:
    """What /etc/os-release says."""

    id: str
    version: str
    name: str


def examine_machine(state: Path, *, ports: Iterable[tuple[str, int]], own: frozenset[int], images_present: bool) -> str:
    """Raises MachineError for the first thing that this machine lacks; answers with one line about what it has.

    `ports` are the (address, port) pairs that must be free, or held by the node's own processes, whose ids are `own`.
    """
    _root()
    distribution = _distribution()
    _programs()
    _kernel()
    _space(state, wanted=SPACE_NEEDED if images_present else SPACE_WANTED)
    for address, port in ports:
        _port_free(address, port, own)
    return f"{distribution.name}, {_podman_version()}, {_runtime()}, nftables"


def _root() -> None:
    if os.geteuid() != 0:
        raise MachineError(
            "a node needs root",
            why="it makes network namespaces, mounts and cgroups",
            hint="sudo make up",
        )


def _distribution() -> Distribution:
    told = {}
    try:
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            told[key] = value.strip('"')
    except OSError:
        told = {}
    found = Distribution(told.get("ID", "unknown"), told.get("VERSION_ID", ""), told.get("PRETTY_NAME", "this system"))
    if (found.id, found.version) not in SUPPORTED:
        raise MachineError(
            f"{found.name} is not supported",
            where="/etc/os-release",
            why="a node was tried on Debian 12 and is meant for Debian 12, Debian 13 and Ubuntu 24.04",
            hint="use one of these, or point the environment at a Kubernetes cluster",
        )
    if platform.machine() not in ARCHITECTURES:
        raise MachineError(f"the architecture {platform.machine()} is not supported", hint="use an amd64 machine")
    return found


def _programs() -> None:
    missing = [program for program in NEEDED_PROGRAMS if shutil.which(program) is None]
    if missing:
        raise MachineError(f"missing programs: {', '.join(missing)}", hint="make system (installs Debian's packages)")


def _kernel() -> None:
    filesystems = Path("/proc/filesystems").read_text(encoding="utf-8")
    if "overlay" not in filesystems and _run(["modprobe", "overlay"]) is None:
        raise MachineError("this kernel has no overlay filesystem", hint="use a kernel with CONFIG_OVERLAY_FS")
    if _run(["nft", "list", "tables"]) is None:
        raise MachineError(
            "this kernel does not let nftables be used", why="`nft list tables` failed", hint="a kernel with nf_tables"
        )
    if not Path("/proc/self/ns/user").exists():
        raise MachineError("this kernel has no user namespaces", hint="a kernel with CONFIG_USER_NS")


def _space(state: Path, *, wanted: int) -> None:
    folder = state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise MachineError(
            f"the disk is nearly full: {free / 1024**3:.1f} GiB free, {wanted / 1024**3:.0f} GiB wanted",
            where=str(folder),
            hint="free some space, or name another state folder with BINDEROPS_STATE",
        )


def _port_free(address: str, port: int, own: frozenset[int]) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # an address that this machine lacks is the network room's to tell
                return
            holder = _holder(port)
            if any(f"pid={pid}," in holder for pid in own):
                return
            raise MachineError(
                f"port {port} on {address} is taken",
                why=holder or "another program listens there",
                hint="stop it, or set another global.publicPort (config/ENV.yaml) or apiPort (binderops.yaml)",
            ) from None


def _holder(port: int) -> str:
    """Who listens on a port, as ss names them; "" when nobody can tell."""
    told = _run(["ss", "-Hltnp", f"sport = :{port}"]) or ""
    return " ".join(line.split()[-1] for line in told.splitlines() if line.strip())


def _podman_version() -> str:
    told = _run(["podman", "--version"])
    return "Podman " + told.split()[-1] if told else "Podman"


def _runtime() -> str:
    return " and ".join(program for program in ("runc", "crun") if shutil.which(program)) or "no runtime"


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
