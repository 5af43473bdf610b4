"""Images in a registry of the operator's own, which wants a password that no build is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.binder.cluster import Cluster, Run, Script
from tests.binder.conftest import MakeBinder, Served
from tests.binder.test_binder_seeding import TAG, places, program, running, seeder, until, with_base
from tests.binder.test_binder_stream import good_build, phases
from tests.git.git_server import GitServer
from tests.oci.docker_registry import OWN_PASSWORD, OWN_USER, DockerRegistry, RunningRegistry, own_registry
from tests.oci.test_oci_copying import requests_of

from binderops.binder import application
from binderops.binder.builds import manager
from binderops.binder.settings import Place, from_values
from binderops.build.layout import Layout
from binderops.build.places import PodPlaces
from binderops.errors import ValuesError
from binderops.oci.copying import Copier
from binderops.oci.credentials import Password
from binderops.oci.insisting import Patience
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

__all__ = ["own_registry", "places"]


@pytest.fixture
async def served(
    make_binder: MakeBinder,
    registry: RunningRegistry,
    own_registry: DockerRegistry,
    secrets_folder: Path,
    token_realm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Served]:
    """A binder that keeps images in `own_registry`."""
    # Nobody waits for it here as long as visitors would.
    monkeypatch.setattr(application, "Patience", lambda slowest: Patience(away=0.2, slowest=slowest))
    url = f"http://{own_registry.running.host}"
    (secrets_folder / "docker").mkdir()
    login = {"username": OWN_USER, "password": OWN_PASSWORD}
    (secrets_folder / "docker" / "config.json").write_text(json.dumps({"auths": {url: login}}))
    async with make_binder(
        token_port=httpx.URL(token_realm).port or 0,
        image_prefix=f"{own_registry.running.host}/org/binder-",
        values={
            "registry": {"name": registry.host, "url": url},
            "config": {"RateLimiter": {"limit": 0}, "Launcher": {"retries": 2, "retry_delay": 0.05}},
        },
    ) as running:
        yield running


@pytest.fixture
async def own(own_registry: DockerRegistry) -> AsyncIterator[Registry]:
    async with Registry(own_registry.running.host, Password(OWN_USER, OWN_PASSWORD), insecure=True) as opened:
        yield opened


def path_of(url: str) -> str:
    return f"build/git/{quote(url, safe='')}/HEAD"


async def test_an_image_is_built_copied_there_and_found_there(
    served: Served, own: Registry, registry: RunningRegistry, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("own", {"requirements.txt": ""})
    url = git_server.url("own")
    cluster.on_build(url, good_build)
    events = await served.events(path_of(url))
    assert phases(events)[3:] == ["building", "unknown", "pushing", "built", "launching", "ready"]
    (told,) = [each["message"] for each in events if each.get("phase") == "pushing"]
    assert told == f"Stored 0.0 of 0.0 MB in {own.host}\n"
    image = Reference.parse(events[-1]["image"])
    assert (image.registry, image.repository[:11]) == (own.host, "org/binder-")
    manifest = await own.get_manifest(image.repository, image.tag)
    assert manifest is not None
    for blob in (manifest.config, *manifest.layers):
        assert await own.has_blob(image.repository, blob.digest)

    pods = len(cluster.created)
    pod = cluster.created[-1]
    assert OWN_PASSWORD not in json.dumps(pod)
    place = pod["metadata"]["annotations"]["binderops.dev/build-place"]
    assert f"--image={registry.host}/{place}:image" in pod["spec"]["containers"][0]["args"]
    async with asyncio.timeout(10):
        while await served.binder.registry.tags(place):
            await asyncio.sleep(0.02)
    assert await served.binder.registry.head_manifest(image.repository, image.tag) is None

    again = await served.events(path_of(url))
    assert phases(again) == ["built", "launching", "ready"]
    assert again[0]["imageName"] == events[-1]["image"]
    assert len(cluster.created) == pods
    async with httpx.AsyncClient(trust_env=False) as client:
        health = (await client.get(f"{served.url}health")).json()
    assert {"service": "Docker registry", "ok": True} in health["checks"]


async def test_one_that_is_named_but_not_used_gets_nothing(
    make_binder: MakeBinder,
    own_registry: DockerRegistry,
    registry: RunningRegistry,
    cluster: Cluster,
    git_server: GitServer,
    token_realm: str,
) -> None:
    git_server.make("not-used", {"requirements.txt": ""})
    url = git_server.url("not-used")
    cluster.on_build(url, good_build)
    values = {"registry": {"name": registry.host, "url": f"http://{own_registry.running.host}"}}
    async with make_binder(httpx.URL(token_realm).port or 0, values=values, use_registry=False) as served:
        ready = (await served.events(path_of(url)))[-1]
        assert ready["phase"] == "ready", ready
        image = Reference.parse(ready["image"])
        assert image.registry == registry.host
        assert await served.binder.registry.head_manifest(image.repository, image.tag) is not None
    assert not list(own_registry.storage.rglob("*used*"))


def build_until_away(own_registry: DockerRegistry) -> Script:
    """A build at whose end the operator's registry is away."""

    async def script(run: Run) -> int:
        await good_build(run)
        await asyncio.to_thread(own_registry.stop)
        return 0

    return script


async def test_what_a_registry_did_not_take_is_stored_by_the_next_launch(
    served: Served, own_registry: DockerRegistry, cluster: Cluster, git_server: GitServer
) -> None:
    git_server.make("taken-up", {"requirements.txt": ""})
    url = git_server.url("taken-up")

    cluster.on_build(url, build_until_away(own_registry))
    failed = (await served.events(path_of(url)))[-1]
    assert failed["phase"] == "failed"
    assert failed["message"].startswith("The image could not be stored: the registry cannot be reached")
    own_registry.start()
    pods = len(cluster.created)
    events = await served.events(path_of(url))
    assert events[-1]["phase"] == "ready", events
    assert len(cluster.created) == pods, "it was built again"


async def test_what_a_registry_did_not_take_is_stored_in_the_background(
    served: Served,
    own_registry: DockerRegistry,
    own: Registry,
    cluster: Cluster,
    git_server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    git_server.make("background", {"requirements.txt": ""})
    url = git_server.url("background")

    cluster.on_build(url, build_until_away(own_registry))
    assert (await served.events(path_of(url)))[-1]["phase"] == "failed"
    (pod,) = [pod for pod in served.binder.pods.builds if pod["metadata"]["annotations"]["binder-repo"] == url]
    assert not await served.binder.builds._keep(pod)
    with monkeypatch.context() as later:
        later.setattr(manager, "_LEFT_SECONDS", -1.0)
        assert await served.binder.builds._keep(pod), "it would lie there for ever"
    own_registry.start()
    assert await served.binder.builds._keep(pod)
    image = Reference.parse(pod["metadata"]["annotations"]["binderops.dev/image"])
    assert await own.head_manifest(image.repository, image.tag) is not None


async def test_the_base_is_kept_there_too_and_mounted_from_there(
    served: Served, own: Registry, registry: RunningRegistry, cluster: Cluster, places: PodPlaces
) -> None:
    settings, repository = with_base(served.binder.settings)
    cluster.on_build(f"{registry.host}/{repository}:{TAG}", program(places))

    async def is_there() -> bool:
        return await own.head_manifest("org/binder-base", TAG) is not None

    async with running(seeder(served, settings)):
        await until(is_there)
    layers = Layout(places.layout).manifest().layers
    copier = Copier(served.binder.registry, own, base="org/binder-base")
    with requests_of(own) as asked:
        await copier.copy(layers, source=repository, target="org/binder-other")
    assert {line.split()[0] for line in asked} == {"HEAD", "POST"}
    for layer in layers:
        assert await own.has_blob("org/binder-other", layer.digest)


def refused(config: dict[str, Any], registry: dict[str, Any]) -> str:
    with pytest.raises(ValuesError) as error:
        from_values({"config": {"BinderHub": config}, "registry": registry}, Place("ns", "ns", "rel"))
    return str(error.value)


def test_names_that_no_registry_takes_are_refused() -> None:
    hub = {"url": "https://index.docker.io/v1/"}
    assert "below an organisation" in refused({}, hub)
    assert "cannot begin so" in refused({"image_prefix": "https://r.example/x-"}, {})
    found = from_values(
        {"config": {"BinderHub": {"image_prefix": "org/x-"}}, "registry": hub}, Place("ns", "ns", "rel")
    )
    assert (found.image_registry, found.build_registry) == ("docker.io", "registry.ns.svc:5000")
