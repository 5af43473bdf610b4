"""What volumes write, whom it belongs to, and that no path leads out."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import VolumeSetupError
from binderops.kube.kinds import Kind, Object
from binderops.node.pods.identity import Owner, owner_of, range_of
from binderops.node.pods.nesting import make_mount_points
from binderops.node.pods.paths import make_beneath, mount_beneath, open_beneath
from binderops.node.pods.payload import File, checked_path, write_payload
from binderops.node.pods.sources import Context
from binderops.node.pods.volumes import Volumes, give, host_path
from binderops.podman.mounts import unmount

ROOT = Owner(0, None)


def contents(folder: Path) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if not str(path.relative_to(folder)).startswith("..")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names if path.is_file()}


def test_a_payload_is_replaced_as_a_whole(tmp_path: Path) -> None:
    assert write_payload(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)}, ROOT)
    assert contents(tmp_path)["a"] == b"1"
    assert (tmp_path / "d/b").read_bytes() == b"2"
    first = (tmp_path / "..data").readlink()
    assert not write_payload(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)}, ROOT)
    assert (tmp_path / "..data").readlink() == first, "nothing changed"
    assert write_payload(tmp_path, {"a": File(b"3", 0o644)}, ROOT)
    assert contents(tmp_path) == {"a": b"3"}
    assert not (tmp_path / first).exists(), "the old files are gone"
    assert oct((tmp_path / "a").stat().st_mode & 0o777) == "0o644"


def test_mount_points_inside_a_payload_outlive_its_changes(tmp_path: Path) -> None:
    def mount(name: str, path: str, **more: str) -> dict[str, str]:
        return {"name": name, "mountPath": path, **more}

    containers = [
        {"volumeMounts": [mount("b", "/v/x/y"), mount("a", "/v"), mount("c", "/v/x/y/z"), mount("d", "/vv/q")]},
        {"volumeMounts": [mount("a", "/w/"), mount("b", "/w/d"), mount("b", "/w/x"), mount("a", "/s", subPath="k")]},
        {"volumeMounts": [mount("a", "/u"), mount("b", "/u/../out"), mount("c", "/s/in")]},
    ]
    pod = {"spec": {"initContainers": containers[:1], "containers": containers[1:]}}
    owner = Owner(os.getuid(), None)
    files = {"k": File(b"1", 0o644), "d/e": File(b"2", 0o644)}
    make_mount_points(tmp_path, pod, "none", owner)
    assert not list(tmp_path.iterdir())
    write_payload(tmp_path, files, owner)
    make_mount_points(tmp_path, pod, "a", owner)
    assert {entry.name for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()} - {
        (tmp_path / "..data").readlink().name
    } == {"x"}
    assert (tmp_path / "x/y").is_dir() and not (tmp_path / "x/y/z").exists()
    assert (tmp_path / "d").is_symlink(), "a folder of the files serves as it is"
    assert write_payload(tmp_path, {"k": File(b"3", 0o644), "x": File(b"4", 0o644)}, owner)
    assert (tmp_path / "k").read_bytes() == b"3"
    assert (tmp_path / "x/y").is_dir(), "what is mounted there covers such a file anyway"
    assert not (tmp_path / "d").exists()


@pytest.mark.root
def test_owner_and_modes(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": File(b"1", 0o400), "b": File(b"2", 0o400, uid=5)}, Owner(200000, 300))
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (200000, 200300, 0o440)
    assert (tmp_path / "b").stat().st_uid == 200005


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "..data", "..2026/x"])
def test_paths_that_leave_are_refused(path: str) -> None:
    with pytest.raises(VolumeSetupError, match="invalid path"):
        checked_path(path)


@given(st.text(max_size=40))
def test_a_checked_path_stays_inside(path: str) -> None:
    try:
        checked = checked_path(path)
    except VolumeSetupError:
        return
    assert not checked.startswith("/") and ".." not in checked.split("/")


def test_links_out_of_a_volume_are_not_followed(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "inside").mkdir()
    (volume / "good").symlink_to("inside")
    (volume / "out").symlink_to("/etc")
    (volume / "up").symlink_to("../..")
    os.close(open_beneath(volume, "good"))
    for bad in ("out", "out/passwd", "up", "../x", "/etc"):
        with pytest.raises((VolumeSetupError, OSError)):
            os.close(open_beneath(volume, bad))
    with pytest.raises((VolumeSetupError, OSError)):
        make_beneath(volume, "out/made", uid=0, gid=0)
    assert not Path("/etc/made").exists()
    make_beneath(volume, "good/a/b", uid=0, gid=0)
    assert (volume / "inside/a/b").is_dir()


@pytest.mark.root
async def test_what_is_mounted_is_what_was_looked_at(tmp_path: Path) -> None:
    volume, target = tmp_path / "volume", tmp_path / "target"
    (volume / "data").mkdir(parents=True)
    (volume / "data" / "mine").write_text("mine")
    await mount_beneath(volume, "data", target)
    try:
        (volume / "data").rename(volume / "old")
        (volume / "data").symlink_to("/etc")
        assert (target / "mine").read_text() == "mine"
        assert not (target / "passwd").exists()
    finally:
        await unmount(target)


@pytest.mark.root
def test_a_claim_is_given_to_the_group_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir(mode=0o700)
    (tmp_path / "sub" / "f").write_text("x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat()
    give(tmp_path, Owner(0, 300))
    assert (tmp_path / "sub/f").stat().st_gid == 300
    assert (tmp_path / "sub/f").stat().st_mode & 0o660 == 0o660
    assert tmp_path.stat().st_mode & 0o2770 == 0o2770
    assert Path("/etc/passwd").stat() == before
    (tmp_path / "sub" / "f").chmod(0o600)
    give(tmp_path, Owner(0, 300))
    assert (tmp_path / "sub/f").stat().st_mode & 0o777 == 0o600, "only where the top is not the group's yet"


@pytest.mark.root
def test_a_claim_is_shifted_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    os.chown(tmp_path / "f", 1000, 100)
    give(tmp_path, Owner(200000, None))
    give(tmp_path, Owner(200000, None))
    assert ((tmp_path / "f").stat().st_uid, (tmp_path / "f").stat().st_gid) == (201000, 200100)
    assert tmp_path.stat().st_uid == 200000


def test_owner_of_a_pod() -> None:
    assert owner_of({"spec": {}}, (200000, 65536)) == Owner(0, None)
    spec = {"hostUsers": False, "securityContext": {"fsGroup": 100}}
    lasting = {**spec, "volumes": [{"name": "db", "persistentVolumeClaim": {"claimName": "db"}}]}
    shared = owner_of({"metadata": {"uid": "a"}, "spec": lasting}, (200000, 65536))
    assert (shared.uid, shared.gid) == (200000, 200100)
    own = owner_of({"metadata": {"uid": "a"}, "spec": spec}, (200000, 65536))
    assert own.uid % 65536 == 0 and own.gid == own.uid + 100


def test_each_pod_has_a_range_of_its_own() -> None:
    pods = [{"metadata": {"uid": str(uuid.UUID(int=number))}, "spec": {"hostUsers": False}} for number in range(100)]
    ranges = [range_of(pod, (200000, 65536)) for pod in pods]
    assert ranges == [range_of(pod, (200000, 65536)) for pod in pods]
    assert len(set(ranges)) > 95
    # systemd.io/UIDS-GIDS: container ids end before 0x70000000.
    assert all(found and found[0] >= 0x80000 and sum(found) <= 0x70000000 for found in ranges)


@pytest.mark.root
def test_a_folder_of_the_machine_is_shared_unless_it_is_only_read(tmp_path: Path) -> None:
    def found(mount: dict[str, Any], **source: Any) -> int:
        volume = {"name": "base", "hostPath": {"path": str(tmp_path), "type": "Directory", **source}}
        containers = [{"name": "main", "volumeMounts": [{"name": "base", "mountPath": "/base", **mount}]}]
        spec = {"hostUsers": False, "volumes": [volume], "containers": containers}
        users = range_of({"metadata": {"uid": "a"}, "spec": spec}, (200000, 65536))
        return users[0] if users else 0

    assert found({"readOnly": True}) > 200000
    assert found({}) == 200000
    assert found({"readOnly": True}, type="DirectoryOrCreate") == 200000
    assert found({"readOnly": True}, path="/proc") == 200000, "a file system that cannot show other ids"


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("Directory", "folder", True),
        ("Directory", "file", False),
        ("File", "file", True),
        ("File", "none", False),
        ("FileOrCreate", "new", True),
        ("DirectoryOrCreate", "newfolder", True),
        ("Socket", "file", False),
        ("", "anything", True),
        ("Nonsense", "file", False),
    ],
)
def test_host_paths(tmp_path: Path, kind: str, name: str, good: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    if good:
        assert host_path(tmp_path / name, kind).exists()
    else:
        with pytest.raises(VolumeSetupError, match="hostPath type check failed"):
            host_path(tmp_path / name, kind)


def readable(path: Path, user: int) -> bool:
    reading = subprocess.run(
        ["cat", path], user=user, group=user, extra_groups=[], capture_output=True, timeout=10, check=False
    )
    return reading.returncode == 0


@pytest.mark.root
@pytest.mark.parametrize(("pod", "passes"), [({}, False), ({"hostUsers": False}, True)])
async def test_nobody_else_of_the_machine_reads_a_pods_secrets(pod: dict[str, Any], passes: bool) -> None:
    async def fetch(kind: Kind, namespace: str, name: str) -> Object:
        return {"kind": "Secret", "data": {"token": "c2VjcmV0"}}

    async def mint(pod: Object, audience: str, seconds: int) -> str:
        raise AssertionError("no token is asked for")

    spec = {**pod, "volumes": [{"name": "key", "secret": {"secretName": "key"}}]}
    manifest = {"metadata": {"name": "p", "namespace": "n", "uid": "u-1"}, "spec": spec}
    # pytest's own folder is closed to others: it would hide what is tested here.
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o711)
        (root / "open").write_text("everybody's")
        volumes = Volumes(root / "disk", root / "memory", shared=(200000, 65536))
        owner = owner_of(manifest, (200000, 65536))
        places = await volumes.prepare(manifest, owner, Context(fetch, mint, "", "", {}))
        secret = places["key"] / "token"
        assert secret.read_text() == "secret"
        assert oct(secret.stat().st_mode & 0o777) == "0o644", "as Kubernetes has it: inside, any user reads it"
        assert readable(root / "open", 65534) and not readable(secret, 65534)
        inside = range_of({**manifest, "spec": {**spec, "hostUsers": False}}, (200000, 65536))
        assert inside and readable(secret, inside[0]) is passes
        assert not readable(secret, 200000), "nor another pod's root"
        assert oct(volumes.folder("u-1").stat().st_mode & 0o777) == "0o710"
