"""What hostile code tries: one program that looks for a machine's things from where it runs, and says what it reached.

Run on the machine itself it must reach all of it (so the targets are alive), from a server or a build none.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PROBE = r"""
import ctypes, glob, json, os, socket, stat, struct, sys
wanted = json.loads(sys.argv[1])
wanted["secret"] = wanted["secret"][::-1]  # so that the probe does not find its own command line

def tried(attempt):
    try:
        return bool(attempt())
    except (OSError, ValueError, KeyError):
        return False

def reads(path):
    with open(path) as file:
        return wanted["secret"] in file.read()

def any_of(attempt, candidates):
    return any([tried(lambda: attempt(candidate)) for candidate in candidates])

def opens(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags | os.O_NONBLOCK))
    return True

def makes_device(number):
    path = "/tmp/probe-device-%d" % os.getpid()
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(*number))
        return opens(path)
    finally:
        os.path.exists(path) and os.unlink(path)

def connects(family, address):
    with socket.socket(family) as client:
        client.settimeout(2)
        client.connect(address)
        return True

def kernel_setting(path):
    with open(path) as file:
        now = file.read()
    with open(path, "w") as file:
        file.write(now)
    return True

def leaves_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        # Private before anything is mounted: where the probe may do this, nothing must change outside.
        steps = (
            lambda: libc.unshare(0x00020000),
            lambda: libc.mount(None, b"/", None, 0x44000, None),
            lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None),
        )
        os._exit(0 if all(step() == 0 for step in steps) else 1)
    return os.waitpid(child, 0)[1] == 0

def calls(number, *arguments):
    # By its number on x86_64 and (the newer ones) everywhere; a descriptor that it gives goes with the process.
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True

def opens_socket(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return True

def makes_user_namespace():
    child = os.fork()
    if child == 0:
        os._exit(0 if libc.unshare(0x10000000) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0

def opens_by_handle():
    # What a file system gives for its root: whoever may open by handle reaches all files of it.
    handle, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128), ctypes.c_int()
    calls(CALLS["name_to_handle_at"], -100, b"/", handle, ctypes.byref(mount), 0)
    return calls(CALLS["open_by_handle_at"], os.open("/", os.O_RDONLY), handle, os.O_RDONLY)

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "x86_64": {"bpf": 321, "userfaultfd": 323, "perf": 298, "name_to_handle_at": 303, "open_by_handle_at": 304},
    "aarch64": {"bpf": 280, "userfaultfd": 282, "perf": 241, "name_to_handle_at": 264, "open_by_handle_at": 265},
}[os.uname().machine]
none = ctypes.create_string_buffer(128)
array = ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 128)  # bpf(2): an array of one element
software_clock = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0), 128)  # perf_event_open(2)

file = wanted["file"]
roots = ["", *glob.glob("/proc/[0-9]*/root"), *glob.glob("/proc/[0-9]*/cwd"), "/host", "/mnt", "/c", "/b", "/b/root"]
disks = [tuple(map(int, open(path).read().split(":"))) for path in glob.glob("/sys/class/block/*/dev")]
found = {
    "a file of the machine": any_of(lambda root: reads(root + file), roots),
    "the hub's database": any_of(lambda root: open(root + wanted["database"], "rb").read(6) == b"SQLite", roots),
    "a process of the machine": any_of(
        lambda path: wanted["secret"].encode() in open(path, "rb").read(), glob.glob("/proc/[0-9]*/cmdline")
    ),
    "its memory": any_of(opens, ["/dev/mem", "/dev/kmem", "/proc/kcore"]),
    "its kernel's log": any_of(opens, ["/dev/kmsg", "/proc/kmsg"]),
    "its disks": any_of(opens, glob.glob("/dev/[sv]d[a-z]*") + glob.glob("/dev/nvme*") + glob.glob("/dev/loop*")),
    "a device made for its disk": any_of(makes_device, disks),
    "its kernel's settings": any_of(
        kernel_setting, ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory"]
    ),
    "its control groups": any_of(
        lambda path: opens(path, os.O_WRONLY),
        [path for name in ("", "*/") for path in glob.glob("/sys/fs/cgroup/" + name + "[cr]*[se]")],
    ),
    "mounting": tried(leaves_namespace),
    "a service on its loopback": tried(lambda: connects(socket.AF_INET, ("127.0.0.1", wanted["port"]))),
    "a service on its loopback by IPv6": tried(lambda: connects(socket.AF_INET6, ("::1", wanted["port"]))),
    "its own address of a private IPv6 network": tried(
        lambda: connects(socket.AF_INET6, (wanted["six"], wanted["port"]))
    ),
    "a socket without a file": tried(lambda: connects(socket.AF_UNIX, "\0" + wanted["secret"])),
    "the host of its virtual machine": tried(lambda: opens_socket(40, socket.SOCK_STREAM)),
    "packets of one's own making": any_of(
        lambda kind: opens_socket(*kind), [(17, socket.SOCK_RAW, 3), (2, socket.SOCK_RAW, 255)]
    ),
    "user namespaces in which one is root": tried(makes_user_namespace),
    "io_uring": tried(lambda: calls(425, 4, none)),
    "bpf": tried(lambda: calls(CALLS["bpf"], 0, array, 128)),
    "userfaultfd": tried(lambda: calls(CALLS["userfaultfd"], 0)),
    "perf events": tried(lambda: calls(CALLS["perf"], software_clock, 0, -1, -1, 0)),
    "file systems mounted by hand": tried(lambda: calls(430, b"tmpfs", 0)),
    "files by their handles": tried(opens_by_handle),
    "its engine": any_of(lambda path: connects(socket.AF_UNIX, path), wanted["engines"]),
}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Canary:
    """What a test plants on the machine, as the probe is told of it."""

    file: Path
    secret: str
    port: int
    engines: tuple[str, ...]
    database: str
    six: str

    @property
    def argument(self) -> str:
        """The probe's one argument."""
        return json.dumps(asdict(self) | {"file": str(self.file), "secret": self.secret[::-1]})


@contextlib.contextmanager
def canary(folder: Path, *, engine: Path, database: Path) -> Iterator[Canary]:
    """A file, a process, services on loopback addresses of both kinds and on a socket without a file.

    `engine` is the node's socket, `database` the hub's.
    """
    secret = f"canary-{os.urandom(8).hex()}"
    file = folder / "planted"
    file.write_text(secret)
    file.chmod(0o644)
    engines = (str(engine), "/run/podman/podman.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = int(first.getsockname()[1])
        second = stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        six = f"fd{os.urandom(1).hex()}:{os.urandom(2).hex()}::1"  # RFC 4193
        subprocess.run(["ip", "address", "add", f"{six}/128", "dev", "lo", "nodad"], check=True, timeout=20)
        stack.callback(subprocess.run, ["ip", "address", "delete", f"{six}/128", "dev", "lo"], check=True, timeout=20)
        fourth = stack.enter_context(socket.create_server((six, port), family=socket.AF_INET6))
        third = stack.enter_context(socket.socket(socket.AF_UNIX))
        third.bind("\0" + secret)
        third.listen()
        for listening in (first, second, third, fourth):
            threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", secret])
        try:
            yield Canary(file, secret, port, engines, str(database), six)
        finally:
            program.kill()
            program.wait(20)
            for listening in (first, second, third, fourth):
                with contextlib.suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listening.accept()[0].close()
