"""From a git repository to a running server: real API, registry, hub and git; only the build's work is scripted."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.binder.cluster import Cluster, Run, line
from tests.binder.conftest import LOCAL_TOKEN, RunningHub, Served
from tests.git.git_server import GitServer, git

from binderops.binder import journey
from binderops.oci.credentials import Password
from binderops.oci.manifests import EMPTY_JSON, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Manifest, encode
from binderops.oci.references import Reference
from binderops.oci.registry import Registry


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in pod["spec"]["containers"][0]["env"]}


async def push(run: Run) -> None:
    """What a build does at its end: push, by the credential that its pod was given."""
    login = json.loads(environment_of(run.pod)["CONTAINER_ENGINE_REGISTRY_CREDENTIALS"])
    argument = next(each for each in run.pod["spec"]["containers"][0]["args"] if each.startswith("--image="))
    image = Reference.parse(argument.removeprefix("--image="))
    async with Registry(image.registry, Password(login["username"], login["password"]), insecure=True) as registry:
        layer = await registry.push_blob(image.repository, uuid.uuid4().bytes, OCI_LAYER_GZIP)
        config = await registry.push_blob(image.repository, EMPTY_JSON, OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json()],
        }
        await registry.put_manifest(image.repository, image.tag, Manifest(OCI_MANIFEST, encode(document)))


async def good_build(run: Run) -> int:
    await run.write(b'{"message": "Picked Git content provider.\\n"}\n')
    await run.write(line("fetching", "Cloning\n") + line("building", "Step 1/2\n") + b"plain words\n")
    await push(run)
    return 0


def phases(events: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for each in events:
        if not found or found[-1] != each.get("phase", "-"):
            found.append(each.get("phase", "-"))
    return found


async def test_a_repository_is_built_launched_and_found_again(
    served: Served, cluster: Cluster, git_server: GitServer, hub: RunningHub
) -> None:
    folder = git_server.make("good", {"requirements.txt": "numpy\n"})
    commit = git(folder, "rev-parse", "HEAD")
    url = git_server.url("good")
    cluster.on_build(url, good_build)
    spec = f"git/{quote(url, safe='')}/main"
    events = await served.events(f"build/{spec}")
    assert phases(events) == ["waiting", "-", "fetching", "building", "unknown", "built", "launching", "ready"]
    assert events[0] == {"phase": "waiting", "message": "Waiting for build to start...\n"}
    ready = events[-1]
    assert ready["image"].endswith(f":{commit}")
    assert ready["repo_url"] == url
    assert ready["binder_ref_url"] == url
    assert ready["binder_launch_host"] == served.url
    assert ready["binder_request"] == f"v2/{spec}"
    assert ready["binder_persistent_request"] == f"v2/git/{quote(url, safe='')}/{commit}"
    assert ready["binder_client_ip"] == "127.0.0.1"
    assert ready["url"].startswith(f"{hub.url}user/good-")
    assert ready["message"] == f"server running at {ready['url']}\n"
    assert len(ready["token"]) == 22
    launching = [each["message"] for each in events if each.get("phase") == "launching"]
    assert launching[0] == "Launching server...\n"
    assert any(not text.startswith(("Launching server...", "Launch attempt")) for text in launching)

    pods = len(cluster.created)
    again = await served.events(f"build/git/{quote(url, safe='')}/{commit}/")
    assert phases(again) == ["built", "launching", "ready"]
    assert again[0]["message"] == "Found built image, launching...\n"
    assert again[0]["imageName"] == ready["image"]
    assert len(cluster.created) == pods

    async with httpx.AsyncClient(headers={"Authorization": f"token {hub.token}"}, trust_env=False) as client:
        name = ready["url"].rstrip("/").rpartition("/")[2]
        user = (await client.get(f"{hub.url}hub/api/users/{name}")).json()
        options = user["servers"][""]["user_options"]
    assert options["image"] == ready["image"]
    assert options["token"] == ready["token"]
    assert set(options) >= {"repo_url", "binder_ref_url", "binder_launch_host", "binder_request", "binder_client_ip"}


async def test_a_failed_build_says_why_and_ends_the_stream(
    served: Served, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("broken-build", {"requirements.txt": "nosuchthing==99\n"})
    url = git_server.url("broken-build")

    async def script(run: Run) -> int:
        await run.write(line("building", "ERROR: No matching distribution found for nosuchthing==99\n"))
        await run.write(line("failed", "The build ended with exit code 1\n"))
        return 1

    cluster.on_build(url, script)
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        client.stream(
            "GET", f"{served.url}build/git/{quote(url, safe='')}/HEAD", headers={"Accept": "text/event-stream"}
        ) as answer,
    ):
        text = (await answer.aread()).decode()
    last = json.loads(text.strip().rpartition("data: ")[2])
    assert last["phase"] == "failed"
    assert last["message"] == "The build ended with exit code 1\n"
    assert last["explanation"]["id"] == "no-matching-distribution"
    assert "nosuchthing==99" in last["explanation"]["title"]
    async with cluster.client() as kube:
        name = cluster.created[-1]["metadata"]["name"]
        async with asyncio.timeout(10):
            while [each for each in served.binder.pods.builds if each["metadata"]["name"] == name]:
                await asyncio.sleep(0.02)
        assert kube.namespace


async def test_a_pod_that_ends_without_a_word_is_told(served: Served, cluster: Cluster, git_server: GitServer) -> None:
    git_server.make("silent", {"a": ""})
    url = git_server.url("silent")

    async def script(run: Run) -> int:
        return 137

    cluster.on_build(url, script)
    events = await served.events(f"build/git/{quote(url, safe='')}/HEAD")
    assert events[-1]["phase"] == "failed"
    assert "exit code 137" in events[-1]["message"]
    assert events[-1]["explanation"]["id"] == "out-of-memory"


async def test_watchers_share_a_build_and_it_outlives_one_who_leaves(
    served: Served, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("shared", {"a": ""})
    url = git_server.url("shared")
    path = f"build/git/{quote(url, safe='')}/HEAD"
    go_on = asyncio.Event()
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(run: Run) -> int:
        await run.write(line("building", "first\n"))
        loop.call_soon_threadsafe(began.set)
        while not go_on.is_set():  # another loop's event: looked at, not awaited
            await asyncio.sleep(0.01)
        await run.write(line("building", "second\n"))
        await push(run)
        return 0

    cluster.on_build(url, script)
    before = len(cluster.created)
    leaving = asyncio.create_task(served.events(path))
    await began.wait()
    staying = asyncio.create_task(served.events(path))
    while served.binder.builds.watchers_of(url) < 2:
        await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go_on.set()
    events = await staying
    texts = [each["message"] for each in events if each.get("phase") == "building"]
    assert texts == ["first\n", "second\n"]
    assert events[-1]["phase"] == "ready"
    assert len(cluster.created) == before + 1


async def test_uploaded_folders(served: Served, cluster: Cluster, registry: Any) -> None:
    body = b"\x1f\x8b" + b"not really a tar"
    headers = {"Authorization": f"token {LOCAL_TOKEN}"}
    async with httpx.AsyncClient(trust_env=False) as client:
        target = f"{served.url}local/hello"
        assert (await client.put(target, content=body)).status_code == 401
        assert (await client.put(target, content=body, headers={"Authorization": "token x"})).status_code == 401
        assert (await client.put(f"{served.url}local/No", content=body, headers=headers)).status_code == 400
        assert (await client.put(target, content=b"plain", headers=headers)).status_code == 415
        answer = await client.put(target, content=body, headers=headers)
    assert answer.status_code == 201
    stored = answer.json()
    assert stored["spec"] == f"local/hello/{stored['digest'].removeprefix('sha256:')[:12]}"
    fetched: list[Any] = []

    async def build(run: Run) -> int:
        # Now: with its pod the credential ends.
        variables = environment_of(cluster.created[-1])
        login = json.loads(variables["CONTAINER_ENGINE_REGISTRY_CREDENTIALS"])
        artifact = Reference.parse(variables["REPO_ARTIFACT"])
        async with Registry(registry.host, Password(login["username"], login["password"]), insecure=True) as client:
            manifest = await client.get_manifest(artifact.repository, artifact.selector)
            assert manifest
            fetched.append(await client.get_blob(artifact.repository, manifest.layers[0].digest))
        return await good_build(run)

    cluster.on_build("local:hello", build)
    events = await served.events("build/local/hello/HEAD")
    assert events[-1]["phase"] == "ready", events
    assert events[-1]["binder_persistent_request"] == f"v2/{stored['spec']}"
    variables = environment_of(cluster.created[-1])
    assert variables["REPO_ARTIFACT"] == f"{registry.host}/local/hello:{stored['spec'].rpartition('/')[2]}"
    assert fetched == [body]
    artifact = Reference.parse(variables["REPO_ARTIFACT"])
    async with Registry(registry.host, Password("pull", "wrong"), insecure=True) as stranger:
        with pytest.raises(Exception, match="refuses"):
            await stranger.get_manifest(artifact.repository, artifact.selector)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("build/zz/a/b/c", {"phase": "failed", "message": "No provider found for prefix zz\n"}),
        (
            "build/gh/a/b",
            {
                "phase": "failed",
                "message": 'Spec is not of the form "user/repo/ref", provided: "a/b". Did you mean "a/b/HEAD"?\n',
            },
        ),
        ("build/git/file%3A%2F%2F%2Fetc/HEAD", {"phase": "failed"}),
        ("build/local/none/HEAD", {"phase": "failed"}),
    ],
)
async def test_refusals(served: Served, path: str, expected: dict[str, str]) -> None:
    (event,) = await served.events(path)
    assert event | expected == event
    assert "status_code" not in event
    assert event["explanation"]["advice"]


async def test_an_unknown_ref_in_the_contracts_words(served: Served, git_server: GitServer) -> None:
    git_server.make("refs", {"a": ""})
    spec = f"{quote(git_server.url('refs'), safe='')}/nowhere"
    (event,) = await served.events(f"build/git/{spec}")
    assert event["message"] == (
        f"Could not resolve ref for git:{spec}. Double check your URL and that your repo is public.\n"
    )
    (event,) = await served.events(f"build/git/{quote(git_server.url('absent'), safe='')}/HEAD")
    assert event["message"].startswith("Error resolving ref for git:")
    assert "Unable to run git ls-remote to get the `resolved_ref`: " in event["message"]


async def test_building_only_wants_the_api_only_mode(served: Served, cluster: Cluster, git_server: GitServer) -> None:
    git_server.make("only", {"a": ""})
    cluster.on_build(git_server.url("only"), good_build)
    path = f"build/git/{quote(git_server.url('only'), safe='')}/HEAD"
    (event,) = await served.events(f"{path}?build_only=true")
    assert event == {"phase": "failed", "status_code": 400, "message": f"{journey._API_ONLY}\n"}
