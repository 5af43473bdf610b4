"""A machine whose init is Debian's systemd, in namespaces of its own on this machine's file system.

It has its own processes, mounts, network and control groups; what it writes lies below one folder, like a disk, and
outlives its power cuts. The kernel is shared.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.programs import program

PROJECT = Path(__file__).parent.parent.parent
CGROUPS = Path("/sys/fs/cgroup")
LIBRARY = Path("/lib/systemd/system")
KEPT = ("systemd-journald",)  # of the units that Debian starts by itself
SHARED_SETTINGS = tuple(Path("/proc/sys/fs/inotify") / name for name in ("max_user_instances", "max_user_watches"))
SETTINGS_RECORD = Path("/run/binderops-sysctls.json")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """`folder` is its disk."""

    def __init__(self, folder: Path, kept: tuple[str, ...] = KEPT) -> None:
        self._folder = folder
        self._kept = kept
        self._group = f"binderops-test-{secrets.token_hex(4)}"
        self._holder: subprocess.Popen[bytes] | None = None
        self.state = folder / "state"
        self.units = folder / "units"

    def install(self) -> None:
        """An empty disk over this machine's file system, and no unit but systemd's own."""
        for name in ("upper", "work", "root", "state", "units"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "machine-id").write_text(secrets.token_hex(16) + "\n")
        (self.units / "default.target").symlink_to(LIBRARY / "multi-user.target")
        for wanted in LIBRARY.glob("*.wants/*"):
            if wanted.suffix not in {".target", ".slice"} and not wanted.name.startswith(self._kept):
                with contextlib.suppress(FileExistsError):
                    (self.units / wanted.name).symlink_to("/dev/null")

    def boot(self) -> None:
        """Returns when systemd has started all that is enabled."""
        program("systemctl")
        _make_groups(self._group)
        with (self._folder / "console.log").open("ab") as console:
            self._holder = subprocess.Popen(
                [
                    *("taskset", "--cpu-list", str(_cpu_of_old_namespaces())),
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--net"),
                    *("taskset", "--cpu-list", ",".join(map(str, os.sched_getaffinity(0)))),
                    *("bash", str(Path(__file__).parent / "boot.sh")),
                    *(str(self._folder), str(PROJECT), self._group),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.until(lambda: self._runs("systemctl", "is-system-running") == "running", "systemd to run")

    def run(self, *command: str, seconds: float = 90, check: bool = True) -> str:
        """What a program on that machine prints; it must succeed, or `check` is false."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._init()), "--all", "--", "env", "-i", f"PATH={_PATH}", *command],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def python(self, *words: str) -> str:
        """What a module of this project prints there."""
        return self.run("env", f"PYTHONPATH={PROJECT}", sys.executable, "-m", *words)

    def changed_files(self) -> Path:
        """The folder of this machine that holds what differs there from this machine's files."""
        return self._folder / "upper"

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = 40) -> float:
        """Waits until it holds; how long that took."""
        began = time.monotonic()
        while not condition():
            assert self._holder is not None and self._holder.poll() is None, self.console()
            assert time.monotonic() - began < seconds, f"no {what}: {self.console()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def members(self, group: str) -> dict[int, str]:
        """The processes of a control group as systemd knows them: process id (there) to command line."""
        found = {}
        script = f"""
            shopt -s globstar nullglob
            for pid in $(cat "$1"/{group}/cgroup.procs < /dev/null); do
              echo "$pid $(tr '\\0' ' ' < /proc/$pid/cmdline)"
            done
        """
        for line in self.run("bash", "-c", script, "bash", str(self._systemds_tree())).splitlines():
            pid, _, command = line.partition(" ")
            found[int(pid)] = command
        return found

    def cut_power(self) -> None:
        """Everything that runs there ends at once; the disk stays."""
        if self._holder is None:
            return
        with contextlib.suppress(AssertionError, OSError):
            os.kill(self._init(), signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._holder.wait(10)
        self._holder.kill()
        self._ended()

    def power_off(self, *, seconds: float) -> float:
        """As its operator would; how long it took."""
        began = time.monotonic()
        assert self._holder is not None
        self.run("systemctl", "poweroff", check=False)
        self._holder.wait(seconds)
        self._ended()
        return time.monotonic() - began

    def console(self) -> str:
        """The end of what systemd and the boot script said."""
        return (self._folder / "console.log").read_text(errors="replace")[-2000:]

    def _ended(self) -> None:
        assert self._holder is not None
        self._holder.wait(10)
        self._holder = None
        _remove_groups(self._group)

    def _init(self) -> int:
        assert self._holder is not None
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        assert children, self.console()
        return int(children[0])

    def _runs(self, *command: str) -> str:
        try:
            # Before systemd is in its place there are this machine's own things to be seen.
            started = Path(f"/proc/{self._init()}/exe").readlink().name == "systemd"
            return self.run(*command, check=False) if started else ""
        except (AssertionError, OSError):
            return ""

    def _systemds_tree(self) -> Path:
        unified = CGROUPS / "unified"
        return unified if unified.is_dir() else CGROUPS


@contextlib.contextmanager
def machine(folder: Path, kept: tuple[str, ...] = KEPT) -> Iterator[Machine]:
    """A machine that was started once, with `kept` of Debian's own units; nothing of it is left at the end."""
    before = {path: path.read_text() for path in SHARED_SETTINGS}
    made = Machine(folder, kept)
    made.install()
    try:
        made.boot()
        yield made
    finally:
        made.cut_power()
        if not SETTINGS_RECORD.exists():  # else a node of this machine is responsible for them
            for path, value in before.items():
                path.write_text(value)
        shutil.rmtree(folder, ignore_errors=True)


def _trees() -> list[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists()]


def _make_groups(name: str) -> None:
    for tree in _trees():
        (tree / name).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of v1, which then takes no process
            if (tree / file).exists() and (tree / name / file).exists():
                (tree / name / file).write_text((tree / file).read_text())


def _remove_groups(name: str) -> None:
    for tree in _trees():
        folders = [path for path in (tree / name).rglob("*") if path.is_dir()]
        for folder in (*sorted(folders, reverse=True), tree / name):
            _remove_group(folder)


def _remove_group(folder: Path) -> None:
    """Cgroup v1 keeps a process in its group for some moments after its parent has heard of its end."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _cpu_of_old_namespaces() -> int:
    """The processor that gives namespaces the lowest ids.

    Linux 6.18 counts them by processor, and refuses to pin a mount namespace within one of a higher id (EINVAL). Only
    the machine's first mount namespace, where a node lives otherwise, is older than all.
    """
    cpus = sorted(os.sched_getaffinity(0))
    script = """
        set -e
        folder=/mnt; mount -t tmpfs tmpfs "$folder"; mount --make-private "$folder"; touch "$folder/mnt"
        for cpu; do taskset --cpu-list "$cpu" unshare --mount="$folder/mnt" true; umount "$folder/mnt"; done
    """
    for cpu in cpus:
        tried = ["taskset", "--cpu-list", str(cpu), "unshare", "--mount", "bash", "-c", script, "bash", *map(str, cpus)]
        if subprocess.run(tried, capture_output=True, timeout=20, check=False).returncode == 0:
            return cpu
    return cpus[0]
