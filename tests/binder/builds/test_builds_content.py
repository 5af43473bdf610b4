"""Commits that change content alone: through the whole binder, with a real registry, git server and Kubernetes API."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.binder.cluster import Cluster
from tests.binder.conftest import LOCAL_TOKEN, MakeBinder, Served
from tests.binder.test_binder_stream import good_build
from tests.git.git_server import GitServer, git

from binderops.binder.builds import content

LOCAL = {"repo_providers": {"local": "LocalRepoProvider"}}


def path_of(server: GitServer, name: str) -> str:
    return f"build/git/{quote(server.url(name), safe='')}/main"


def commit(folder: Path, files: dict[str, str | None]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "more")
    return git(folder, "rev-parse", "HEAD")


async def recorded(served: Served, image: str) -> None:
    """Waits until the environment of an image's repository is on record: nobody's launch waits for that."""
    repository = image.partition("/")[2].rpartition(":")[0]
    async with asyncio.timeout(15):
        while not any(tag.startswith("env-") for tag in await served.binder.registry.tags(repository)):
            await asyncio.sleep(0.02)


async def layers_of(served: Served, image: str) -> tuple[dict[str, Any], list[bytes]]:
    repository, _, tag = image.partition("/")[2].rpartition(":")
    manifest = await served.binder.registry.get_manifest(repository, tag)
    assert manifest
    config = json.loads(await served.binder.registry.get_blob(repository, manifest.config.digest))
    return config, [await served.binder.registry.get_blob(repository, each.digest) for each in manifest.layers]


def said(events: list[dict[str, Any]]) -> str:
    return "".join(str(each.get("message", "")) for each in events)


async def test_a_commit_of_content_alone_runs_no_pod(served: Served, cluster: Cluster, git_server: GitServer) -> None:
    first = {"requirements.txt": "numpy\n", "a.ipynb": "{}", "data/old.csv": "1", "kept.txt": "same", "run.sh": "#!"}
    folder = git_server.make("content", first)
    url = git_server.url("content")
    cluster.on_build(url, good_build)
    built = (await served.events(path_of(git_server, "content")))[-1]
    await recorded(served, built["image"])

    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("../../etc/passwd")
    now = commit(folder, {"a.ipynb": '{"new": 1}', "data/old.csv": None, "sub/new.txt": "new"})
    pods = len(cluster.created)
    events = await served.events(path_of(git_server, "content"))
    assert events[-1]["phase"] == "ready", said(events)
    assert "nothing is built" in said(events)
    assert "4 files are written, 1 removed" in said(events)
    assert len(cluster.created) == pods
    assert events[-1]["image"] == built["image"].rpartition(":")[0] + f":{now}"

    config, layers = await layers_of(served, events[-1]["image"])
    assert config["config"]["Labels"]["repo2docker.ref"] == now
    _, below = await layers_of(served, built["image"])
    assert layers[:-1] == below
    with tarfile.open(fileobj=io.BytesIO(layers[-1])) as layer:
        found = {entry.name.removeprefix("home/jovyan/"): entry for entry in layer}
        text = layer.extractfile(found["a.ipynb"])
        assert text and text.read() == b'{"new": 1}'
        head = layer.extractfile(found[".git/refs/heads/main"])
        assert head and head.read().decode().strip() == now
    assert {".wh.data", "sub/new.txt", "link", "run.sh", ".git/index", ".git/shallow"} <= set(found)
    assert not {"kept.txt", "requirements.txt"} & set(found)
    assert (found["run.sh"].mode, found["a.ipynb"].mode) == (0o755, 0o644)
    assert (found["link"].linkname, found["link"].uid, found["sub"].uid) == ("../../etc/passwd", 1000, 1000)

    # A third one starts from what was built, not from a layer upon a layer.
    commit(folder, {"data/again.csv": "2"})
    third = await served.events(path_of(git_server, "content"))
    assert len((await layers_of(served, third[-1]["image"]))[1]) == len(layers)
    assert len(cluster.created) == pods


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "pandas\n"},
        {"postBuild": "#!/bin/sh\n"},
        {"Dockerfile": "FROM x\n"},
        {"apt.txt": "figlet\n"},
        {".gitattributes": "*.csv filter=lfs\n"},
        {"pyproject.toml": "[project]\nname='a'\n"},
    ],
    ids="".join,
)
async def test_a_commit_that_may_change_its_environment_is_built(
    served: Served, cluster: Cluster, git_server: GitServer, files: dict[str, str | None]
) -> None:
    name = f"env-{''.join(files).strip('.').lower()}"
    folder = git_server.make(name, {"requirements.txt": "numpy\n"})
    cluster.on_build(git_server.url(name), good_build)
    built = (await served.events(path_of(git_server, name)))[-1]
    await recorded(served, built["image"])
    commit(folder, files)
    pods = len(cluster.created)
    events = await served.events(path_of(git_server, name))
    assert events[-1]["phase"] == "ready", said(events)
    assert len(cluster.created) == pods + 1
    assert "nothing is built" not in said(events)


async def test_hosts_that_never_answer_keep_no_other_commit_waiting(
    served: Served, cluster: Cluster, git_server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look that there may be at once is held by others: what comes is built, like every other."""
    folder = git_server.make("held", {"requirements.txt": "numpy\n"})
    cluster.on_build(git_server.url("held"), good_build)
    built = (await served.events(path_of(git_server, "held")))[-1]
    await recorded(served, built["image"])
    monkeypatch.setattr(content, "_PATIENCE_SECONDS", 0.2)
    slots = served.binder.builds._content._slots
    while not slots.locked():
        await slots.acquire()
    commit(folder, {"a.ipynb": "{}"})
    pods = len(cluster.created)
    events = await served.events(path_of(git_server, "held"))
    assert events[-1]["phase"] == "ready", said(events)
    assert len(cluster.created) == pods + 1 and "nothing is built" not in said(events)
    for _ in range(content._AT_ONCE):
        slots.release()


async def test_an_upload_of_content_alone_runs_no_pod(
    make_binder: MakeBinder, token_realm: str, cluster: Cluster
) -> None:
    def archive(files: dict[str, bytes]) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
        return packed.getvalue()

    cluster.on_build("local:notes", good_build)
    headers = {"Authorization": f"token {LOCAL_TOKEN}"}
    port = httpx.URL(token_realm).port or 0
    async with make_binder(token_port=port, **LOCAL) as served, httpx.AsyncClient(trust_env=False) as http:
        await http.put(f"{served.url}local/notes", content=archive({"a": b"1", "b": b"2"}), headers=headers)
        built = (await served.events("build/local/notes/HEAD", headers=headers))[-1]
        await recorded(served, built["image"])
        await http.put(f"{served.url}local/notes", content=archive({"a": b"new"}), headers=headers)
        pods = len(cluster.created)
        events = await served.events("build/local/notes/HEAD", headers=headers)
        assert "1 files are written, 1 removed" in said(events), said(events)
        assert len(cluster.created) == pods
        _, layers = await layers_of(served, events[-1]["image"])
        assert b"new" in gzip.decompress(layers[-1])


async def test_an_image_that_was_removed_is_no_ground_to_stand_on(
    served: Served, cluster: Cluster, git_server: GitServer
) -> None:
    folder = git_server.make("gone", {"a.ipynb": "{}"})
    cluster.on_build(git_server.url("gone"), good_build)
    built = (await served.events(path_of(git_server, "gone")))[-1]
    await recorded(served, built["image"])
    repository, _, tag = built["image"].partition("/")[2].rpartition(":")
    descriptor = await served.binder.registry.head_manifest(repository, tag)
    assert descriptor
    await served.binder.registry.delete_manifest(repository, descriptor.digest)
    commit(folder, {"a.ipynb": "{ }"})
    pods = len(cluster.created)
    events = await served.events(path_of(git_server, "gone"))
    assert events[-1]["phase"] == "ready", said(events)
    assert len(cluster.created) == pods + 1
