"""A release as its programs see it: rendered objects, the hub's configuration, a user's pod, the binder's settings."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyterhub.app import JupyterHub
from jupyterhub_idle_culler import IdleCuller  # type: ignore[import-untyped]
from tests.charts.conftest import NAMESPACE, RELEASE, Object, Rendered
from tests.charts.keys.rows import ABSENT, Row, found_at
from tests.hub.release import PASSWORDS, load_hub, spawner_of

from binderops.binder.builds.manifest import BuildRequest, build_pod
from binderops.binder.settings import Place, Settings, from_values
from binderops.ingress.settings import parse_settings

_BUILD = BuildRequest(name="build-x", image="r:5000/x:1", repo_url="https://example.org/x.git", ref="abc")


class World:
    """One render. What a program makes of it is made when a row asks, once."""

    def __init__(self, objects: Rendered, folder: Path) -> None:
        self._objects = objects
        self._folder = folder

    def find(self, row: Row) -> Any:
        """What stands where a row looks."""
        program = self._programs.get(row.target)
        if program:
            return found_at(program(), row.place)
        kind, _, name = row.target.partition(" ")
        found = self._objects.get((kind, name))
        if found is None:
            return ABSENT
        return found_at(_opened(found) if kind == "Secret" else found, row.place)

    @property
    def made(self) -> list[Object]:
        """All objects: those that are rendered, and the pods and claims that hub and binder would make of them."""
        made = list(self._objects.values())
        if ("ConfigMap", "hub") in self._objects:
            spawner, pod, claim = self._spawned
            made.append({**pod, "apiVersion": "v1", "kind": "Pod"})
            if spawner.storage_pvc_ensure:
                made.append({**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"})
        if ("Deployment", "binder") in self._objects:
            made.append(self._build)
        return made

    @property
    def _programs(self) -> Mapping[str, Callable[[], Any]]:
        return {
            "JupyterHub": lambda: self._hub,
            "Spawner": lambda: self._spawned[0],
            "Pod of a user": lambda: self._spawned[1],
            "Claim of a user": lambda: self._spawned[2],
            "Culler": lambda: self._culler,
            "Environment of the hub": lambda: self._loaded[1],
            "Binder": lambda: self._settings,
            "Pod of a build": lambda: self._build,
            "Controller": lambda: self._controller,
        }

    @cached_property
    def _loaded(self) -> tuple[Any, dict[str, str]]:
        """The hub's configuration by its own loader, and what it left in the environment."""
        config_map, secret = (self._objects[kind, "hub"]["data"] for kind in ("ConfigMap", "Secret"))
        self._folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            config = load_hub(config_map, secret, self._folder, patch)
            return config, {name: os.environ[name] for name in PASSWORDS}

    @cached_property
    def _hub(self) -> JupyterHub:
        return JupyterHub(config=self._loaded[0])

    @cached_property
    def _spawned(self) -> tuple[Any, Any, Any]:
        """A user's spawner, and the pod and the claim that it would make."""

        async def spawn() -> tuple[Any, Any, Any]:
            with pytest.MonkeyPatch.context() as patch:
                spawner = spawner_of(self._loaded[0], patch, options={"token": "t"})
            client = spawner.api.api_client
            to_json = client.sanitize_for_serialization
            try:
                return spawner, to_json(await spawner.get_pod_manifest()), to_json(spawner.get_pvc_manifest())
            finally:
                await client.close()

        return asyncio.run(spawn())

    @cached_property
    def _culler(self) -> Any:
        service = found_at(self._loaded[0].JupyterHub.services, "jupyterhub-idle-culler")
        if service is ABSENT:
            return ABSENT
        program = IdleCuller()
        program.parse_command_line(service["command"][3:])
        return program

    @cached_property
    def _settings(self) -> Settings:
        place = Place(NAMESPACE, NAMESPACE, RELEASE, root=self._folder)
        return from_values(_opened(self._objects["Secret", "binder-secret"])["values"], place)

    @cached_property
    def _build(self) -> Any:
        environment = found_at(
            self._objects["Deployment", "binder"], "spec.template.spec.containers.binder.env.BUILD_NAMESPACE.value"
        )
        place = Place(NAMESPACE, environment, RELEASE)
        settings = from_values(_opened(self._objects["Secret", "binder-secret"])["values"], place)
        return build_pod(settings, _BUILD, "password", place="builds/x")

    @cached_property
    def _controller(self) -> Any:
        """The ingress controller's settings, as it reads its ConfigMap."""
        data = self._objects["ConfigMap", f"{RELEASE}-nginx-ingress-controller"].get("data") or {}
        return parse_settings(data)[0]


def _opened(secret: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret with its data as text, and `values` as what its values.yaml says."""
    data = {key: base64.b64decode(text).decode(errors="replace") for key, text in secret["data"].items()}
    values = yaml.load(data.get("values.yaml", ""), Loader=yaml.CSafeLoader)
    return {**secret, "data": data, "values": values}
