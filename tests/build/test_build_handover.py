"""A build's credentials leave its environment, and only its own program gets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from binderops.build.links import refuse_links_that_lead_out
from binderops.build.runtime import MountError, Mounts, check
from binderops.errors import BuildError

PROGRAM = """\
import os, pathlib, subprocess, sys
from binderops.build.handover import Secrets, close_memory
from binderops.build.leaving import leave_environment
leave_environment()
def first(): return pathlib.Path("/proc/self/environ").read_text()
secrets = Secrets.taken(os.environ)
print("environment", "canary" in first() + repr(os.environ) + repr(secrets))
print("registry", secrets.registry)
print("git", subprocess.run(["cat", str(secrets.git)], capture_output=True, text=True).stdout)
def files_in(listing): return listing.count("memfd:")
listing = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout
print("inherited", files_in(listing))
def own():
    entries = pathlib.Path("/proc/self/fd").iterdir()
    return " ".join(os.readlink(entry) for entry in entries if entry.is_symlink())
print("open", files_in(own()))
secrets.forget_git()
print("then", secrets.git, files_in(own()))
close_memory()
print("me", sys.argv[1:], os.environ["OTHER"])
print("ready", os.getpid(), flush=True)
sys.stdin.read()
"""


def test_secrets_are_handed_over_and_found_nowhere_else() -> None:
    given = {
        "GIT_CREDENTIAL_ENV": r"username=u\npassword=canary-git",
        "CONTAINER_ENGINE_REGISTRY_CREDENTIALS": '{"password": "canary-registry"}',
        "OTHER": "stays",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "an argument"], env={**os.environ, **given}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert process.stdin
    try:
        said = [process.stdout.readline().rstrip("\n") for _ in range(8)]
    finally:
        process.stdin.close()
        process.wait(20)
    assert said[:-1] == [
        "environment False",
        'registry {"password": "canary-registry"}',
        r"git username=u\npassword=canary-git",
        "inherited 0",
        "open 1",
        "then None 0",
        "me ['an argument'] stays",
    ]


ONLY_NEIGHBOURS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.mark.root
@pytest.mark.parametrize("closed", [False, True])
def test_closed_memory_is_not_read_by_another_process_of_the_same_user(closed: bool) -> None:
    program = f"""\
import sys
from binderops.build.handover import close_memory
{"close_memory()" if closed else ""}
print("ready", flush=True)
sys.stdin.read()
"""
    # The same user, without the capabilities that read any process: no pod has them.
    process = subprocess.Popen(
        [*ONLY_NEIGHBOURS, sys.executable, "-c", program], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdin
    try:
        assert process.stdout.readline() == "ready\n"
        for part in ("environ", "mem", "maps", "fd/0"):
            reading = f"open('/proc/{process.pid}/{part}', 'rb').close()"
            read = subprocess.run(
                [*ONLY_NEIGHBOURS, sys.executable, "-c", reading],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert ("PermissionError" in read.stderr) is closed, f"{part}: {read.stderr}"
    finally:
        process.stdin.close()
        process.wait(20)


@pytest.mark.parametrize(
    ("link", "target", "refused"),
    [
        ("runtime.txt", "/proc/self/environ", "runtime.txt"),
        ("requirements.txt", "../outside", "requirements.txt"),
        ("apt.txt", "nowhere/../../outside", "apt.txt"),
        ("Dockerfile", "/nonexistent", "Dockerfile"),
        (".dockerignore", "/etc/passwd", ".dockerignore"),
        ("binder", "/etc", "binder"),
        ("binder/postBuild", "/etc/passwd", "binder/postBuild"),
        (".binder/environment.yml", "../../outside", ".binder/environment.yml"),
        # What stays inside, and what no builder reads.
        ("requirements.txt", "inner/pins", ""),
        ("binder", "inner", ""),
        ("data", "/somewhere/else", ""),
        ("inner/runtime.txt", "/etc/passwd", ""),
    ],
)
def test_links_that_lead_out_of_a_checkout(tmp_path: Path, link: str, target: str, refused: str) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "inner").mkdir(parents=True)
    (checkout / "inner/pins").write_text("")
    (tmp_path / "outside").write_text("canary")
    (checkout / link).parent.mkdir(exist_ok=True)
    (checkout / link).symlink_to(target)
    if not refused:
        refuse_links_that_lead_out(checkout, checkout)
        return
    with pytest.raises(BuildError) as raised:
        refuse_links_that_lead_out(checkout, checkout)
    assert str(raised.value).startswith(f"{refused} leads out of the repository")
    assert "canary" not in str(raised.value)


def test_a_folder_that_is_built_must_lie_in_its_repository(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/part").symlink_to(tmp_path)
    with pytest.raises(BuildError, match=r"^part leads out"):
        refuse_links_that_lead_out(tmp_path / "checkout", tmp_path / "checkout/part")


ID = "ab" * 32
MOUNTINFO = f"""\
1 0 0:50 / / rw - overlay overlay rw
2 1 0:51 / /proc rw - proc proc rw
3 1 0:52 / /sys ro - sysfs sysfs ro
4 1 8:1 /pods/1/volumes/containers /var/lib/containers rw - ext4 /dev/disk rw
5 4 0:60 / /var/lib/containers/storage/overlay/{ID}/merged rw - overlay overlay rw
6 4 {{where}} /var/lib/containers/tmp/buildah7/mnt/buildah-bind-target-9 rw - any any rw
7 1 0:70 / /with\\040space rw - tmpfs tmpfs rw
"""
VOLUME = "8:1 /pods/1/volumes/containers"
SETTINGS = {
    "storage": "/var/lib/containers/storage",
    "temporary": "/var/lib/containers/tmp",
    "whole": ["/tmp/repo2docker1", "/with space"],
}


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("0:50 /tmp/repo2docker1/data", True),
        ("0:50 /tmp/repo2docker1", True),
        ("0:70 /x", True),
        ("0:60 /any", True),
        (f"{VOLUME}/tmp/buildah7/resolv.conf", True),
        (f"{VOLUME}/tmp/buildah7/run/.containerenv", True),
        (f"{VOLUME}/tmp/buildah-cache/uv", True),
        (f"{VOLUME}/tmp/buildah-cache-0/a/b", True),
        (f"{VOLUME}/storage/overlay-containers/{ID}/userdata/buildah-volumes/{ID}", True),
        ("0:50 /", False),
        ("0:50 /tmp", False),
        ("0:50 /tmp/repo2docker12", False),
        ("0:50 /run/binderops-build", False),
        ("0:51 /", False),
        ("0:52 /", False),  # /sys, but elsewhere than at /sys
        ("8:1 /", False),
        ("8:1 /tmp/repo2docker1", False),
        (VOLUME, False),
        (f"{VOLUME}/tmp", False),
        (f"{VOLUME}/tmp/buildah7", False),
        (f"{VOLUME}/tmp/buildah7/config.json", False),
        (f"{VOLUME}/tmp/buildah-cache", False),
        (f"{VOLUME}/storage", False),
        (f"{VOLUME}/storage/overlay", False),
        (f"{VOLUME}/storage/overlay/{ID}/diff", False),
        (f"{VOLUME}/storage/overlay-containers/{ID}/userdata", False),
        (f"{VOLUME}/storage/overlay-containers/{ID}/userdata/buildah.json", False),
    ],
)
def test_a_step_is_shown_what_is_its_own(where: str, allowed: bool) -> None:
    source = "/var/lib/containers/tmp/buildah7/mnt/buildah-bind-target-9"
    mount = {"type": "bind", "source": source, "destination": "/pod", "options": ["rbind", "rw"]}
    mounts = Mounts.parse(MOUNTINFO.format(where=where))
    if allowed:
        check({"mounts": [mount]}, SETTINGS, mounts)
        return
    with pytest.raises(MountError, match="the mount at /pod is refused"):
        check({"mounts": [mount]}, SETTINGS, mounts)


def test_a_step_has_the_systems_own_mounts_and_no_others() -> None:
    mounts = Mounts.parse(MOUNTINFO.format(where="0:52 /"))
    source = "/var/lib/containers/tmp/buildah7/mnt/buildah-bind-target-9"
    sys_folder = {"type": "bind", "source": source, "destination": "/sys", "options": ["rbind", "ro"]}
    plain = [{"type": kind, "source": kind, "destination": f"/{kind}"} for kind in ("proc", "tmpfs", "devpts")]
    check({"mounts": [sys_folder, *plain]}, SETTINGS, mounts)
    check({}, SETTINGS, mounts)
    with pytest.raises(MountError, match="no mounts of type ext4"):
        check({"mounts": [{"type": "ext4", "source": "/dev/x", "destination": "/x"}]}, SETTINGS, mounts)


@pytest.mark.parametrize(
    ("lower", "more", "refused"),
    [
        ("merged/kept", "", ""),
        ("merged", "", ""),
        ("../..", "", "outside of the build's images"),
        ("diff", "", "outside of the build's images"),
        ("merged/kept,lowerdir=/", "", "something else to the kernel"),
        ("merged/kept:/", "", "something else to the kernel"),
        ("merged/kept", "lowerdir+=/", "something else to the kernel"),
        ("merged/kept", "upperdir=/usr", "outside of the build's images"),
    ],
)
def test_a_volume_shows_its_own_images_files(lower: str, more: str, refused: str) -> None:
    storage = SETTINGS["storage"]
    own = f"{storage}/overlay-containers/{ID}/userdata/overlay/77"
    options = [f"lowerdir={storage}/overlay/{ID}/{lower}", f"upperdir={own}/upper", f"workdir={own}/work", "private"]
    mount = {"type": "overlay", "source": f"{own}/merge", "destination": "/kept", "options": [*options, more]}
    mounts = Mounts.parse(MOUNTINFO.format(where="0:52 /"))
    if not refused:
        check({"mounts": [mount]}, SETTINGS, mounts)
        return
    with pytest.raises(MountError, match=f"the volume at /kept is refused.*{refused}"):
        check({"mounts": [mount]}, SETTINGS, mounts)
    with pytest.raises(MountError, match="at /kept is refused"):
        check({"mounts": [{**mount, "options": [*options, "rbind"], "source": "/"}]}, SETTINGS, mounts)
