"""What is worked out from the machine, and the files rendered from it."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from binderops.errors import EngineError
from binderops.podman import EngineSettings, hosts_text
from binderops.podman.commands import run
from binderops.podman.images import registry_auth
from binderops.podman.machine import CgroupMode, cgroup_mode, default_ulimits, proxy_environment
from binderops.podman.mounts import mounts
from binderops.podman.transport import error_message


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        (["cgroup.controllers"], CgroupMode.UNIFIED),
        (["unified/cgroup.controllers", "memory/tasks"], CgroupMode.HYBRID),
        (["memory/tasks"], CgroupMode.LEGACY),
    ],
)
def test_cgroup_mode(tmp_path: Path, files: list[str], mode: CgroupMode) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert cgroup_mode(tmp_path) is mode


def test_limits_do_not_exceed_the_callers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("binderops.podman.machine.PID_MAX", tmp_path / "pid_max")
    (tmp_path / "pid_max").write_text("32768\n")
    monkeypatch.setattr("resource.getrlimit", lambda kind: (10, 2000))
    assert default_ulimits() == ["nofile=2000:2000", "nproc=2000:2000"]
    monkeypatch.setattr("resource.getrlimit", lambda kind: (-1, -1))
    assert default_ulimits(files=5, processes=6) == ["nofile=5:5", "nproc=6:6"]
    assert default_ulimits(files=5)[1] == "nproc=32768:32768", "Podman lowers its own limit to pid_max"


def test_services_are_never_asked_for_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_environment() == {}
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert proxy_environment()["NO_PROXY"] == "example.org,.svc,.svc.cluster.local"


def settings(tmp_path: Path, **more: Any) -> EngineSettings:
    fixed: dict[str, Any] = {"runtime": "runc", "cgroups": "hybrid", "ulimits": ("nofile=1:1",), "program": Path("/p")}
    places = {"folder": tmp_path / "f", "run": tmp_path / "r", "temporary": tmp_path / "t", "storage": tmp_path / "s"}
    return EngineSettings(**{**fixed, **places, **more})


def test_rendered_files(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    engine = settings(tmp_path, image_stores=(store, tmp_path / "absent"))
    assert engine.write()
    assert not engine.write(), "the same settings change nothing"
    containers = tomllib.loads((engine.configuration / "containers.conf").read_text())
    assert containers["engine"]["runtime"] == "runc"
    (program,) = containers["engine"]["runtimes"]["runc"]
    assert os.access(program, os.X_OK)
    assert containers["engine"]["lock_type"] == "file"
    hooks = Path(containers["engine"]["hooks_dir"][-1])
    hook = json.loads((hooks / "limit-users.json").read_text())
    assert os.access(hook["hook"]["path"], os.X_OK)
    assert containers["containers"]["default_ulimits"] == ["nofile=1:1"]
    storage = tomllib.loads((engine.configuration / "storage.conf").read_text())
    assert storage["storage"]["options"]["additionalimagestores"] == [str(store)]
    registries = tomllib.loads((engine.configuration / "registries.conf").read_text())
    assert registries["unqualified-search-registries"] == ["docker.io"]
    assert registries["registry"] == [{"prefix": "*.svc", "insecure": True}]
    environment = engine.environment()
    assert environment["TMPDIR"] == str(tmp_path / "t")
    policy = Path(environment["HOME"]) / ".config/containers/policy.json"
    assert json.loads(policy.read_text())["default"]


def test_hosts_text() -> None:
    assert "10.0.0.9 registry.a.svc\n" in hosts_text({"registry.a.svc": "10.0.0.9"})
    assert hosts_text({}).startswith("127.0.0.1 localhost\n")


def test_mountinfo_is_parsed() -> None:
    text = (
        "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 27 0:26 / /run/a\\040b rw shared:5 - tmpfs tmpfs rw\n"
        "31 27 0:4 mnt:[1] /run/ns rw - nsfs nsfs rw\n"
    )
    assert [tuple(mount) for mount in mounts(text)] == [
        ("/", False, "ext4"),
        ("/run/a b", True, "tmpfs"),
        ("/run/ns", False, "nsfs"),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"cause":"c","message":"m: c","response":500}', "m: c"),
        (b'{"cause":"c"}', "c"),
        (b'"text"', "text"),
        (b"<html>", "<html>"),
        (b"\xff", "�"),
    ],
)
def test_error_bodies(body: bytes, message: str) -> None:
    assert error_message(body) == message


def test_registry_auth_is_base64url_json() -> None:
    assert registry_auth("pull", "a?b>") == "eyJ1c2VybmFtZSI6ICJwdWxsIiwgInBhc3N3b3JkIjogImE_Yj4ifQ=="


async def test_a_program_that_fails_or_hangs() -> None:
    with pytest.raises(EngineError, match="exit code 1"):
        await run(["false"])
    with pytest.raises(EngineError, match=r"did not end within 0\.1 s"):
        await run(["sleep", "30"], timeout=0.1)
