"""Moving a built image to the registry: only what is new is compressed, only what the registry lacks is sent.

buildah compresses and uploads every layer of an image that it pushes, the base's half gigabyte too. Here it writes the
image into an OCI layout in which the base's layers are there already, as empty files under the digests of their
content, so it skips them; in the manifest they are then replaced by the base's own compressed layers. Those are mounted
from the base's repository where the registry has it, and else sent from the read-only store beside the base.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from binderops.build.layout import Layout
from binderops.build.leaving import REGISTRY
from binderops.build.places import PodPlaces
from binderops.build.processes import stream_lines
from binderops.errors import BuildError, RegistryError
from binderops.oci.credentials import Password
from binderops.oci.manifests import OCI_MANIFEST, Descriptor, Manifest, encode
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

_EXPORT_SILENCE_SECONDS = 600.0
LayerProgress = Callable[[Descriptor, str], None]


@dataclass(frozen=True)
class Login:
    """CONTAINER_ENGINE_REGISTRY_CREDENTIALS: whom the registry knows this build as."""

    registry: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_json(cls, text: str) -> Login:
        """Read what repo2docker's variable holds, a JSON object; empty means anonymous. Raises BuildError."""
        try:
            document = json.loads(text or "{}")
            return cls(*(str(document.get(key, "")) for key in ("registry", "username", "password")))
        except (ValueError, AttributeError) as error:
            raise BuildError(
                "the registry credential cannot be read", where=REGISTRY, why="not a JSON object"
            ) from error

    def is_for(self, host: str) -> bool:
        """Whether there is a password for that registry."""
        return bool(self.password) and host == self.registry

    @contextmanager
    def authentication_file(self) -> Iterator[int]:
        """Docker's config.json, as buildah wants to read it, in an open file that has no name."""
        user = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        with os.fdopen(os.memfd_create("authentication"), "wb", buffering=0) as file:
            file.write(json.dumps({"auths": {self.registry: {"auth": user}}}).encode())
            yield file.fileno()

    def for_host(self, host: str) -> Password:
        """The credential, only if it is for that registry."""
        return Password(self.username, self.password) if host == self.registry else Password()


def is_plain_http(host: str) -> bool:
    """Whether a registry speaks http: a Service's name (architecture.md), or this machine itself."""
    name = host.rpartition(":")[0] or host
    return name.endswith(".svc") or name in {"localhost", "127.0.0.1", "[::1]"}


@asynccontextmanager
async def registry_of(reference: Reference, login: Login) -> AsyncIterator[Registry]:
    """Open the registry of an image's name."""
    host = reference.registry
    async with Registry(host, login.for_host(host), insecure=is_plain_http(host)) as registry:
        yield registry


@dataclass(frozen=True)
class Pushing:
    """One push: the places of the pod, who pushes, and where the registry keeps the base (`repository`, or empty)."""

    places: PodPlaces
    login: Login
    base_repository: str = ""

    def export(self, image: str, variables: Mapping[str, str]) -> Iterator[str]:
        """Write the image's own layers into a layout, compressed; yields what buildah says."""
        target = self._target
        shutil.rmtree(target.root, ignore_errors=True)
        target.blob("sha256:any").parent.mkdir(parents=True)
        for content in self._base_layers():
            target.blob(content).touch()
        arguments = ["buildah", "push", "--quiet", image, f"oci:{target.root}:image"]
        yield from stream_lines(arguments, environment=variables, silence_seconds=_EXPORT_SILENCE_SECONDS)

    async def send(self, image: str, progress: LayerProgress) -> str:
        """Send what the registry lacks, then the manifest under the image's tag; returns its digest.

        Raises RegistryError.
        """
        reference = Reference.parse(image)
        base = self._base_layers()
        exported = self._target.manifest()
        layers = [base.get(layer.digest, layer) for layer in exported.layers]
        async with registry_of(reference, self.login) as registry:
            # What is mounted costs round trips only; what is sent is little, and compressed already.
            await asyncio.gather(
                *(self._send_layer(registry, reference.repository, layer, progress) for layer in _each_once(layers))
            )
            config = self._target.blob(exported.config.digest).read_bytes()
            await registry.push_blob(reference.repository, config, exported.config.media_type)
            document = {**exported.document, "layers": [layer.to_json() for layer in layers]}
            manifest = Manifest(OCI_MANIFEST, encode(document))
            digest = await registry.put_manifest(reference.repository, reference.tag or "latest", manifest)
        shutil.rmtree(self._target.root, ignore_errors=True)
        return digest

    async def _send_layer(
        self, registry: Registry, repository: str, layer: Descriptor, progress: LayerProgress
    ) -> None:
        if await registry.has_blob(repository, layer.digest):
            progress(layer, "Layer already exists")
            return
        own = self._target.blob(layer.digest)
        if not own.is_file():
            if await self._mount(registry, repository, layer):
                progress(layer, "Mounted from the base")
                return
            own = Layout(self.places.layout).blob(layer.digest)
        progress(layer, "Pushing")
        await registry.push_blob(repository, own, layer.media_type)
        progress(layer, "Pushed")

    async def _mount(self, registry: Registry, repository: str, layer: Descriptor) -> bool:
        if not self.base_repository:
            return False
        try:
            return await registry.mount_blob(repository, layer.digest, source=self.base_repository)
        except RegistryError:
            # Sending the bytes works without the right to read the base's repository.
            return False

    def _base_layers(self) -> dict[str, Descriptor]:
        if not (self.places.layout / "index.json").is_file():
            return {}
        return Layout(self.places.layout).layers_by_content()

    @property
    def _target(self) -> Layout:
        return Layout(self.places.temporary / "push")


def base_repository_of(environment: Mapping[str, str], registry: str) -> str:
    """Return the path of BASE_REPOSITORY, when it names `registry`; layers are mounted only within one."""
    host, _, path = environment.get("BASE_REPOSITORY", "").partition("/")
    return path if host == registry else ""


def _each_once(layers: Iterable[Descriptor]) -> list[Descriptor]:
    return list({layer.digest: layer for layer in layers}.values())


def layer_name(layer: Descriptor) -> str:
    """A layer as progress names it."""
    return layer.digest.removeprefix("sha256:")[:12]
