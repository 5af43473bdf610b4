"""The build pod's manifest, its log's lines, and what failures mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.binder.builds.explain import explain_log, explain_text
from binderops.binder.builds.loglines import parse_line, split_lines
from binderops.binder.builds.manifest import BuildRequest, arguments, build_pod
from binderops.binder.settings import Place, from_values
from binderops.node.pods.expansion import expand

REQUEST = BuildRequest(
    name="build-x-1",
    image="registry.ns.svc:5000/r2d-1-x:abc",
    repo_url="https://example.org/a.git",
    ref="abc",
    artifact="",
    git_credentials="username=u",
)
VALUES: dict[str, Any] = {
    "global": {
        "images": {
            "build": {"name": "localhost/binderops/build", "tag": "sha256:" + "b" * 64},
            "notebook": {"name": "localhost/binderops/notebook", "tag": "sha256:" + "c" * 64},
        },
        "machine": {
            "caCertificates": "-----BEGIN CERTIFICATE-----",
            "packageIndex": {"pip": "https://pypi.internal/simple", "npm": "", "debian": ""},
            "proxies": {"http": "", "https": "http://proxy:3128", "none": ".svc"},
            "buildBaseStore": "/var/lib/binderops/images/build-base/storage",
        },
    },
    "config": {"KubernetesBuildExecutor": {"extra_envs": {"MINE": "1"}, "memory_request": "1G"}},
}


PLACE = Place("ns", "builds", "rel")


def pod(values: dict[str, Any] = VALUES) -> dict[str, Any]:
    return build_pod(from_values(values, PLACE), REQUEST, "the-password", place="builds/build-x-1-0a1b")


def test_the_pod_is_unprivileged_and_knows_only_its_own() -> None:
    made = pod()
    assert made["metadata"] == {
        "name": "build-x-1",
        "namespace": "builds",
        "labels": {"name": "build-x-1", "component": "binderhub-build", "release": "rel"},
        "annotations": {
            "binder-repo": "https://example.org/a.git",
            "binderops.dev/image": "registry.ns.svc:5000/r2d-1-x:abc",
            "binderops.dev/build-place": "builds/build-x-1-0a1b",
        },
    }
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert spec["hostUsers"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert container["name"] == "builder"
    assert container["image"] == "localhost/binderops/build@sha256:" + "b" * 64
    assert container["command"] == ["python", "-m", "binderops.build"]
    assert container["args"] == [
        "--ref=abc",
        "--image=registry.ns.svc:5000/builds/build-x-1-0a1b:image",
        "--no-clean",
        "--no-run",
        "--json-logs",
        "--user-name=jovyan",
        "--user-id=1000",
        "--push",
        "https://example.org/a.git",
    ]
    assert container["securityContext"] == {
        "privileged": False,
        "capabilities": {"add": ["SYS_ADMIN"]},
        "seccompProfile": {"type": "Unconfined"},
        "appArmorProfile": {"type": "Unconfined"},
    }
    assert container["resources"] == {"requests": {"memory": str(1 << 30)}}
    assert {volume["name"]: volume for volume in spec["volumes"]}["base"]["hostPath"]["path"].endswith(
        "build-base/storage"
    )
    assert {"name": "base", "mountPath": "/base/storage", "readOnly": True} in container["volumeMounts"]
    assert not [volume for volume in spec["volumes"] if "secret" in volume]


def test_it_keeps_no_cache() -> None:
    """What it can write goes with its pod: no volume outlives it that it may write to."""
    spec = pod()["spec"]
    lasting = {volume["name"] for volume in spec["volumes"] if "emptyDir" not in volume}
    assert lasting == {"base", "machine"}
    mounts = [mount for container in spec["containers"] for mount in container["volumeMounts"]]
    assert all(mount.get("readOnly") for mount in mounts if mount["name"] in lasting)


def test_an_address_cannot_ask_for_the_pods_variables() -> None:
    url = "https://example.org/$(GIT_CREDENTIAL_ENV)/$$(MINE)/$a"
    args = arguments(from_values(VALUES, PLACE), replace(REQUEST, repo_url=url), "r.svc:5000/x:1")
    assert expand(args[-1], {"GIT_CREDENTIAL_ENV": "username=u", "MINE": "1"}) == url


def test_its_environment() -> None:
    found = {item["name"]: item["value"] for item in pod()["spec"]["containers"][0]["env"]}
    assert json.loads(found.pop("CONTAINER_ENGINE_REGISTRY_CREDENTIALS")) == {
        "username": "build",
        "password": "the-password",
        "registry": "registry.ns.svc:5000",
    }
    assert found == {
        "BASE_IMAGE": "localhost/binderops/notebook@sha256:" + "c" * 64,
        "BASE_REPOSITORY": "registry.ns.svc:5000/binderops/notebook",
        "GIT_CREDENTIAL_ENV": "username=u",
        "HTTPS_PROXY": "http://proxy:3128",
        "MACHINE_AUTHORITIES": "/etc/binderhub/machine/ca.crt",
        "MINE": "1",
        "NO_PROXY": ".svc",
        "PIP_INDEX_URL": "https://pypi.internal/simple",
        "UV_DEFAULT_INDEX": "https://pypi.internal/simple",
        "https_proxy": "http://proxy:3128",
        "no_proxy": ".svc",
    }


def test_a_cluster_has_neither_base_store_nor_authorities() -> None:
    made = pod({"global": {"images": VALUES["global"]["images"]}})
    names = {item["name"] for item in made["spec"]["containers"][0]["env"]}
    assert names == {
        "CONTAINER_ENGINE_REGISTRY_CREDENTIALS",
        "BASE_IMAGE",
        "BASE_REPOSITORY",
        "GIT_CREDENTIAL_ENV",
    }
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["containers", "machine"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"message": "Step 1\\n", "phase": "building"}', {"message": "Step 1\n", "phase": "building"}),
        (b'{"message": "Picked Git\\n"}', {"message": "Picked Git\n"}),
        (
            b'{"phase": "pushing", "progress": {"a": "Pushed"}, "message": ""}',
            {"phase": "pushing", "progress": {"a": "Pushed"}, "message": ""},
        ),
        (b"plain", {"phase": "unknown", "message": "plain"}),
        (b"\xff\xfe", {"phase": "unknown", "message": "��"}),
        (b"[1]", {"phase": "unknown", "message": "[1]"}),
        (b'{"message": 1}', {"phase": "unknown", "message": '{"message": 1}'}),
        (b'{"message": "x", "phase": "Failed"}', {"message": "x", "phase": "Failed"}),
        # A build cannot speak for the binder.
        (
            b'{"phase": "ready", "url": "http://evil/", "token": "t", "message": "m"}',
            {"phase": "unknown", "message": "m"},
        ),
        (b'{"phase": "built", "imageName": "evil", "message": "m"}', {"phase": "unknown", "message": "m"}),
    ],
)
def test_log_lines(line: bytes, expected: dict[str, Any]) -> None:
    assert parse_line(line) == expected


@given(st.binary(max_size=300))
def test_any_line_is_an_event(line: bytes) -> None:
    item = parse_line(line)
    json.dumps(item)
    assert str(item.get("phase", "")).lower() not in {"ready", "built", "launching"}


async def test_lines_are_put_together_and_cut() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in (b"a\nb", b"c\n\n", b"x" * 70_000, b"y\n", b"end"):
            yield piece

    found = [line async for line in split_lines(chunks())]
    assert found[:2] == [b"a", b"bc"]
    assert len(found[2]) == 65536
    assert found[-1] == b"end"


@pytest.mark.parametrize(
    ("log", "id"),
    [
        ("ERROR: No matching distribution found for numpyy==1", "no-matching-distribution"),
        (
            "  ╰─▶ Because nosuch was not found in the package registry and",
            "no-matching-distribution",
        ),
        ("  ╰─▶ Because there is no version of numpy==99 and you require numpy==99", "no-matching-distribution"),
        # As uv says it today, in one line and wrapped.
        (
            "  cause: Because nosuch was not found in the package registry and you require nosuch==99, we can conclude "
            "that your requirements are unsatisfiable.",
            "no-matching-distribution",
        ),
        (
            "  cause: Because there is no version of numpy==99.0 and you require\n"
            "         numpy==99.0, we can conclude that your requirements are\n         unsatisfiable.",
            "no-matching-distribution",
        ),
        (
            "  cause: Because tensorflow==1.0.0 has no wheels with a matching Python ABI tag (e.g., `cp311`)",
            "no-matching-distribution",
        ),
        (
            "  cause: Because jupyterlab==4.0.0 depends on jupyter-server>=2.4.0,<3 and you require jupyterlab==4.0.0, "
            "we can conclude that you require jupyter-server>=2.4.0,<3.\n"
            "         And because you require jupyter-server==1.0.0, your requirements are unsatisfiable.",
            "conflicting-versions",
        ),
        ("ERROR: ResolutionImpossible: for help visit", "conflicting-versions"),
        ("your requirements are unsatisfiable.", "conflicting-versions"),
        ("Could not resolve host: github.com", "network"),
        ("error: Failed to fetch: dns error: failed to lookup address", "network"),
        (
            "The image could not be pushed: the registry cannot be reached; where: registry.ns.svc:5000; why: "
            "Connection refused: [Errno 111] Connect call failed, for 40 s; what to do: try again in a minute",
            "registry",
        ),
        ("The image could not be stored: the registry breaks off what it is asked", "registry"),
        ("E: Unable to locate package libfoo", "apt"),
        ("ERROR: Failed building wheel for pystan", "compile"),
        ("Error: dockerfile parse error on line 3: unknown instruction: FORM", "dockerfile"),
        ("initializing source docker://nosuch:1: reading manifest", "base-image"),
        ("sh: 1: Cannot fork", "processes"),
        ("write /x: no space left on device", "disk-full"),
        ("the registry's disk is full; where: registry:5000", "registry-disk"),
        ("runtime.txt leads out of the repository: it is a link, or lies behind one", "link"),
        ("error running container: creating container: the mount at /pod is refused: its source leads out", "mount"),
        ("the volume at /kept is refused: its content lies outside of the build's images", "mount"),
        (
            "The build failed: Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 10Gi.",
            "disk-limit",
        ),
        ('The build failed: Evicted: Usage of EmptyDir volume "v" exceeds the limit "1Gi".', "disk-limit"),
        ("fatal: couldn't find remote ref nosuch", "git-ref"),
        ("fatal: clone of 'http://10.1.2.3/x' into submodule path '/tmp/r/inner' failed", "submodule"),
        ("fatal: No url found for submodule path 'inner' in .gitmodules", "submodule"),
        ("fatal: repository 'https://x/' not found", "clone"),
        ("The build failed: OOMKilled (exit code 137).", "out-of-memory"),
        ("nothing known", "build-failed"),
    ],
)
def test_explanations(log: str, id: str) -> None:
    found = explain_log(["Collecting a\n", log, "The step ended with exit code 1\n"])
    assert found.id == id
    assert "{" not in found.title + found.advice


def test_what_cannot_be_built_is_named_with_the_way_out() -> None:
    said = (
        "runtime.txt (python-3.10) is not supported here; why: only repo2docker's PythonBuildPack could build it (from "
        "x), and it needs conda.anaconda.org, which builds of this service cannot reach; what to do: write "
        "python-3.11 into runtime.txt {x}\n"
    )
    found = explain_log(["Picked commit abc\n", said])
    assert found.title == "runtime.txt (python-3.10) asks for what this service cannot build"
    assert found.advice == "Write python-3.11 into runtime.txt {x}."


def test_the_last_known_reason_counts_and_colours_do_not() -> None:
    found = explain_log(["Could not resolve host: a", "\x1b[31mERROR: No matching distribution found for b\x1b[0m"])
    assert found.title == "No package in the index fits b"
    assert "\x1b" not in found.quote
    assert explain_text("nothing of the kind") is None
