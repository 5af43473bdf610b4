"""Launches through a real hub, quotas over real pods, and builds that outlive the binder."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

import httpx
import pytest
from tests.binder.cluster import NAMESPACE, Cluster, Run, line
from tests.binder.conftest import MakeBinder, RunningHub, Served
from tests.binder.test_binder_stream import good_build, push
from tests.git.git_server import GitServer

from binderops.binder.application import Binder
from binderops.binder.builds import manager
from binderops.binder.builds.explain import explain_text
from binderops.binder.launches.hub import Hub
from binderops.binder.launches.launcher import Launched, Launcher, LaunchRequest
from binderops.binder.metrics import Metrics
from binderops.binder.traits import Launcher as Traits
from binderops.errors import HubError
from binderops.kube.kinds import POD


async def launch(hub: RunningHub, image: str, traits: Traits) -> tuple[list[str], Launched]:
    api = Hub(f"{hub.url}hub/api/", hub.token, retries=2, first_pause=0.01)
    launcher = Launcher(api, hub.url, traits, Metrics())
    launched, texts = Launched(), []
    try:
        request = LaunchRequest(image, "https://example.org/a/b", {})
        async for item in launcher.launch(request, launched):
            assert item["phase"] == "launching"
            texts.append(item["message"])
    finally:
        await api.close()
    return texts, launched


async def test_a_launch(hub: RunningHub) -> None:
    texts, launched = await launch(hub, "good:1", Traits())
    assert texts[0] == "Launching server...\n"
    assert any("Server ready at" in text for text in texts)
    assert launched.url.startswith(f"{hub.url}user/a-b-")
    assert launched.attempts == 1


async def test_a_server_that_does_not_start_is_tried_again_and_then_told(hub: RunningHub) -> None:
    texts: list[str] = []
    api = Hub(f"{hub.url}hub/api/", hub.token)
    launcher = Launcher(api, hub.url, Traits(retries=2, retry_delay=0.01), Metrics())
    with pytest.raises(HubError, match=r"[Ss]pawn failed"):
        async for item in launcher.launch(LaunchRequest("broken:1", "https://x/y", {}), Launched()):
            texts.append(item["message"])
    await api.close()
    assert "Launch attempt 1 failed, retrying...\n" in texts


@pytest.mark.parametrize(("code", "attempts"), [(1, 2), (127, 1), (128, 1)])
async def test_a_server_that_can_never_start_is_not_tried_four_times(hub: RunningHub, code: int, attempts: int) -> None:
    api = Hub(f"{hub.url}hub/api/", hub.token)
    launcher, launched = Launcher(api, hub.url, Traits(retries=4, retry_delay=0.01), Metrics()), Launched()
    with pytest.raises(HubError, match=f"exit code {code}") as refused:
        async for item in launcher.launch(LaunchRequest(f"ended-{code}", "https://x/y", {}), launched):
            assert item["phase"] == "launching"
    await api.close()
    assert launched.attempts == attempts
    explained = explain_text(refused.value.what)
    assert explained is not None
    assert explained.title.endswith(f"with exit code {code}")


async def test_a_hub_that_refuses_or_is_gone(hub: RunningHub) -> None:
    stranger = RunningHub(hub.url, "wrong")
    with pytest.raises(HubError, match="Failed to create temporary user for good:1"):
        await launch(stranger, "good:1", Traits(retries=1))
    gone = RunningHub("http://127.0.0.1:9/", hub.token)
    with pytest.raises(HubError, match="Failed to create temporary user for good:1"):
        await launch(gone, "good:1", Traits(retries=1))


async def test_a_launch_that_takes_too_long(hub: RunningHub) -> None:
    with pytest.raises(HubError, match="took too long to launch"):
        await launch(hub, "good:1", Traits(retries=1, launch_timeout=0.001))


# As the hub's spawner labels them: charts/test_charts_names compares.
SERVER_LABELS = {"app": "jupyterhub", "component": "singleuser-server", "release": "release"}


async def make_user_pod(
    binder: Binder, cluster: Cluster, name: str, image: str, *, labels: dict[str, str] | None = None, seen: bool = True
) -> None:
    """A server's pod; with `seen`, once the binder knows of it."""
    async with cluster.client() as kube:
        await kube.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": SERVER_LABELS | (labels or {}),
                },
                "spec": {"containers": [{"name": "notebook", "image": image}]},
            }
        )
    async with asyncio.timeout(10):
        while seen and name not in {pod["metadata"]["name"] for pod in binder.pods.users}:
            await asyncio.sleep(0.01)


async def remove_user_pod(cluster: Cluster, name: str) -> None:
    async with cluster.client() as kube:
        await kube.delete(POD, name, NAMESPACE, grace_seconds=0)


async def test_attempts_are_as_far_apart_as_the_operator_says(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, token_realm: str
) -> None:
    git_server.make("broken-apart", {"a": ""})
    url = git_server.url("broken-apart")
    cluster.on_build(url, good_build)
    launcher = {"retries": 3, "retry_delay": 0.4}
    at: list[float] = []
    async with (
        make_binder(httpx.URL(token_realm).port or 0, values={"config": {"Launcher": launcher}}) as served,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
        client.stream(
            "GET",
            f"{served.url}build/git/{quote(url, safe='')}/HEAD",
            headers={"Accept": "text/event-stream"},
        ) as answer,
    ):
        async for text in answer.aiter_lines():
            if "failed, retrying" in text or '"failed"' in text:
                at.append(time.monotonic())
            if len(at) == 3:
                break
    # Each pause is twice the one before; with the default they take four seconds, and eight.
    assert at[1] - at[0] >= 0.4
    assert at[2] - at[1] >= 0.8
    assert at[2] - at[0] < 12


@pytest.mark.parametrize("name", ["LaunchQuota", "KubernetesLaunchQuota"])
async def test_the_quota_of_all(name: str, make_binder: MakeBinder, cluster: Cluster, git_server: GitServer) -> None:
    if not (git_server.root / "quota").exists():
        git_server.make("quota", {"a": ""})
    path = f"build/git/{quote(git_server.url('quota'), safe='')}/HEAD"
    async with make_binder(values={"config": {name: {"total_quota": 0}}}) as served:
        (event,) = await served.events(path)
        assert event["message"] == "Too many users on this BinderHub! Try again soon.\n"
        assert "status_code" not in event
        metrics = served.binder.metrics.text().decode()
        assert 'binderhub_launch_count_total{provider="Git"' in metrics
        assert 'status="pod_quota"' in metrics


async def test_servers_are_counted_whatever_the_hubs_chart_is_called(
    served: Served, make_binder: MakeBinder, cluster: Cluster, git_server: GitServer
) -> None:
    """jupyterhub.nameOverride: their label `app` is that name. Those of another release are not this binder's."""
    git_server.make("renamed", {"a": ""})
    url = git_server.url("renamed")
    cluster.on_build(url, good_build)
    path = f"build/git/{quote(url, safe='')}/HEAD"
    image = (await served.events(path))[-1]["image"]
    await make_user_pod(served.binder, cluster, "jupyter-other", image, labels={"release": "other"}, seen=False)
    try:
        await make_user_pod(served.binder, cluster, "jupyter-own", image, labels={"app": "own"})
        async with make_binder(values={"config": {"LaunchQuota": {"total_quota": 1}}}) as limited:
            assert await total_of(limited) == (1, 1)
            events = await limited.events(path)
        assert events[-1]["message"] == "Too many users on this BinderHub! Try again soon.\n"
        async with make_binder(per_repo_quota=1) as limited:
            events = await limited.events(path)
        assert events[-1]["message"] == f"Too many users running {url}! Try again soon.\n"
    finally:
        await remove_user_pod(cluster, "jupyter-other")
        await remove_user_pod(cluster, "jupyter-own")


async def total_of(served: Served) -> tuple[int, int]:
    """What /health says of servers: how many run, how many may."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        checks = (await http.get(f"{served.url}health")).json()["checks"]
    (quota,) = (check for check in checks if check["service"] == "Pod quota")
    return quota["user_pods"], quota["quota"]


async def test_the_quota_of_one_repository(
    served: Served, make_binder: MakeBinder, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("repo-quota", {"a": ""})
    url = git_server.url("repo-quota")
    cluster.on_build(url, good_build)
    path = f"build/git/{quote(url, safe='')}/HEAD"
    first = await served.events(path)
    image = first[-1]["image"]
    await make_user_pod(served.binder, cluster, "jupyter-one", f"{image.rpartition(':')[0]}:another")
    try:
        async with make_binder(per_repo_quota=1) as limited:
            events = await limited.events(path)
        assert events[-1]["message"] == f"Too many users running {url}! Try again soon.\n"
        assert events[0]["phase"] == "built"
        assert events[-1]["explanation"]["id"] == "too-many"
    finally:
        await remove_user_pod(cluster, "jupyter-one")


async def test_a_new_binder_attaches_to_a_build_that_runs(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, served: Served
) -> None:
    git_server.make("attached", {"a": ""})
    url = git_server.url("attached")
    path = f"build/git/{quote(url, safe='')}/HEAD"
    go_on = asyncio.Event()

    async def script(run: Run) -> int:
        await run.write(line("building", "before\n"))
        while not go_on.is_set():  # another loop's event: looked at, not awaited
            await asyncio.sleep(0.01)
        await run.write(line("building", "after\n"))
        await push(run)
        return 0

    cluster.on_build(url, script)
    before = len(cluster.created)
    async with make_binder() as first:
        watching = asyncio.create_task(first.events(path))
        async with asyncio.timeout(10):
            while not any(
                "before" in run.log.decode() for run in cluster.runs.values() if run.pod in cluster.created[before:]
            ):
                await asyncio.sleep(0.01)
    stopped = await asyncio.gather(watching, return_exceptions=True)
    assert stopped
    following = asyncio.create_task(served.events(path))
    async with asyncio.timeout(10):
        while not served.binder.builds.watchers_of(url):
            await asyncio.sleep(0.01)
    go_on.set()
    events = await following
    assert [each["message"] for each in events if each.get("phase") == "building"] == ["before\n", "after\n"]
    assert events[-1]["phase"] == "ready"
    assert len(cluster.created) == before + 1


async def test_a_pod_of_an_earlier_failure_is_replaced(served: Served, cluster: Cluster, git_server: GitServer) -> None:
    git_server.make("again", {"a": ""})
    url = git_server.url("again")
    path = f"build/git/{quote(url, safe='')}/HEAD"

    async def bad(run: Run) -> int:
        return 1

    cluster.on_build(url, bad)
    assert (await served.events(path))[-1]["phase"] == "failed"
    cluster.on_build(url, good_build)
    assert (await served.events(path))[-1]["phase"] == "ready"


SLOW = ("CreateContainerError", "Podman did not inspect image x within 30 s")


async def test_an_engine_that_is_slow_for_a_while_fails_no_build(
    served: Served, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("slow-engine", {"a": ""})
    url = git_server.url("slow-engine")
    cluster.on_build(url, good_build)
    cluster.on_start(url, [SLOW])
    events = await served.events(f"build/git/{quote(url, safe='')}/HEAD")
    assert any("did not inspect image x" in str(each["message"]) for each in events), "it is told meanwhile"
    assert events[-1]["phase"] == "ready", events


@pytest.mark.parametrize("waiting", [[SLOW] * 20, [("CreateContainerConfigError", 'secret "s" not found')]])
async def test_what_waiting_does_not_mend_fails_soon(
    served: Served,
    cluster: Cluster,
    git_server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
    waiting: list[tuple[str, str]],
) -> None:
    name = f"stuck-{len(waiting)}"
    git_server.make(name, {"a": ""})
    url = git_server.url(name)
    cluster.on_build(url, good_build)
    cluster.on_start(url, waiting)
    monkeypatch.setattr(manager, "SLOW_SECONDS", 1.0)
    events = await served.events(f"build/git/{quote(url, safe='')}/HEAD")
    assert events[-1]["phase"] == "failed"
    assert events[-1]["message"] == f"The build cannot start: {': '.join(waiting[0])}\n"


async def test_the_cleaner_removes_what_nobody_watches(make_binder: MakeBinder, cluster: Cluster) -> None:
    async def ends(run: Run) -> int:
        return 1

    cluster.on_build("left-behind", ends)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "build-left-behind",
            "namespace": NAMESPACE,
            "labels": {"name": "build-left-behind", "component": "binderhub-build"},
            "annotations": {"binder-repo": "left-behind"},
        },
        "spec": {"containers": [{"name": "builder", "image": "x"}]},
    }
    async with cluster.client() as kube, make_binder(build_cleanup_interval=0.05) as served:
        await kube.create(pod)
        async with asyncio.timeout(15):
            while not any(each["metadata"]["name"] == "build-left-behind" for each in served.binder.pods.builds):
                await asyncio.sleep(0.01)
            while any(each["metadata"]["name"] == "build-left-behind" for each in served.binder.pods.builds):
                await asyncio.sleep(0.01)
        listed = await kube.list(POD, NAMESPACE, labels="component=binderhub-build")
    assert "build-left-behind" not in {each["metadata"]["name"] for each in listed.items}


async def test_a_build_that_takes_too_long(make_binder: MakeBinder, cluster: Cluster, git_server: GitServer) -> None:
    git_server.make("endless", {"a": ""})
    url = git_server.url("endless")

    async def script(run: Run) -> int:
        await asyncio.sleep(3600)
        return 0

    cluster.on_build(url, script)
    async with make_binder(values={"config": {"KubernetesCleaner": {"max_age": 0.6}}}) as served:
        events = await served.events(f"build/git/{quote(url, safe='')}/HEAD")
        assert events[-1]["phase"] == "failed"
        assert events[-1]["message"].startswith("The build took longer than")
        async with asyncio.timeout(10):
            while any(each["metadata"]["annotations"]["binder-repo"] == url for each in served.binder.pods.builds):
                await asyncio.sleep(0.02)
    assert cluster.created[-1]["spec"]["activeDeadlineSeconds"] == 1
