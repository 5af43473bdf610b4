"""repo2docker's engine that runs buildah in the build pod itself: no daemon, no socket, no other build in sight.

Registered as entry point `repo2docker.engines: buildah`. It builds and pushes; running images is Kubernetes' work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from repo2docker.engine import BuildError, ContainerEngine, Image, ImageLoadError
from repo2docker.utils import R2dState

from binderops.build.configuration import configure, has_image, remove_leftovers
from binderops.build.machine import allow_context
from binderops.build.places import PodPlaces
from binderops.build.processes import stream_lines
from binderops.build.pushing import Login, Pushing, base_repository_of, layer_name
from binderops.errors import BinderOpsError
from binderops.oci.manifests import Descriptor
from binderops.oci.references import Reference

_INSPECT_SECONDS = 60
_TAIL_LINES = 15
_SMALL_LAYER_BYTES = 1_000_000
_STEP = re.compile(r"STEP \d+/\d+: (.*)")
# What says again what the step was, or is this engine's own part of an instruction.
_REPEATED = re.compile(r'Error: building at STEP ".*": ', re.DOTALL)
_OWN = re.compile(r"--mount=type=cache,id=uv\S* |UV_CACHE_DIR=\S+ ")
# What buildah tells about committing to its own store helps nobody who waits for a build.
_NOISE = ("Getting image source", "Copying blob", "Copying config", "Writing manifest", "Storing signatures")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)


class BuildahEngine(ContainerEngine):  # type: ignore[misc]
    """Builds by `buildah bud`, pushes by the registry's protocol; see `pushing` for why not by `buildah push`."""

    string_output = True

    def __init__(self, *, parent: Any) -> None:
        super().__init__(parent=parent)
        self._places = PodPlaces()
        self._login: Login = parent.login
        self._variables = configure(self._places, os.environ)
        remove_leftovers(self._places, self._variables)

    def build(
        self,
        *,
        push: bool = False,
        load: bool = False,
        buildargs: Mapping[str, str] | None = None,
        cache_from: Sequence[str] | None = None,
        container_limits: Mapping[str, object] | None = None,
        tag: str = "",
        custom_context: bool = False,
        dockerfile: str = "",
        fileobj: IO[bytes] | None = None,
        path: str = "",
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        **_: object,
    ) -> Iterator[str]:
        """Build, and push when asked; yields log lines. Raises BuildError or ImageLoadError (repo2docker's own)."""
        if load:
            raise BuildError("The engine buildah cannot load an image to run it: give --no-run.")
        with tempfile.TemporaryDirectory(dir=self._places.temporary) as unpacked:
            if fileobj is not None:
                with tarfile.open(fileobj=fileobj) as archive:
                    # The archive is repo2docker's own, made from the checkout with its links as they are.
                    archive.extractall(unpacked)  # noqa: S202
                path, dockerfile = unpacked, str(Path(unpacked) / (dockerfile or "Dockerfile"))
            bases = _FROM.findall(_text_of(path, dockerfile))
            yield from self._pull_with_login(bases)
            allow_context(self._places, path)
            yield from self._run_build(
                self._arguments(path, dockerfile, bases=bases, tag=tag, buildargs=buildargs or {}, labels=labels or {})
            )
        if push:
            yield from self._push(tag)

    def inspect_image(self, image: str) -> Image | None:
        """The image in this pod's store, or None; a registry is not asked."""
        found = subprocess.run(
            ["buildah", "inspect", "--type", "image", image],
            env={**os.environ, **self._variables},
            capture_output=True,
            timeout=_INSPECT_SECONDS,
            check=False,
        )
        if found.returncode != 0:
            return None
        config = dict(json.loads(found.stdout)["OCIv1"].get("config") or {})
        config.setdefault("WorkingDir", "")
        return Image(tags=[image], config=config)

    def _pull_with_login(self, bases: Sequence[str]) -> Iterator[str]:
        """What FROM takes from the registry that this build may read. RUN steps are a part of `buildah bud`: it has no
        credential.
        """
        own = [image for image in dict.fromkeys(bases) if self._login.is_for(image.partition("/")[0])]
        if not own:
            return
        with self._login.authentication_file() as file:
            for image in own:
                arguments = ["buildah", "pull", "--quiet", f"--authfile=/proc/self/fd/{file}", image]
                yield from self._run_build(arguments, step=f"FROM {image}", files=[file])

    def _arguments(
        self,
        path: str,
        dockerfile: str,
        *,
        bases: Sequence[str],
        tag: str,
        buildargs: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> list[str]:
        here = all(has_image(self._variables, image) for image in bases if "$" not in image)
        return [
            "buildah",
            "bud",
            "--isolation=oci",
            # The pod's own network namespace, with the rules of its NetworkPolicy.
            "--network=host",
            f"--runtime={self._variables['BUILDAH_RUNTIME']}",
            # Otherwise an image that lies here is asked for at its registry first.
            "--pull-never" if here else "--pull=false",
            "--layers=false",
            f"--security-opt=seccomp={self._places.seccomp}",
            "--format=oci",
            f"--tag={tag}",
            *([f"--file={dockerfile}"] if dockerfile else []),
            *(f"--build-arg={key}={value}" for key, value in sorted(buildargs.items())),
            *(f"--label={key}={value}" for key, value in sorted(labels.items())),
            path,
        ]

    def _run_build(self, arguments: Sequence[str], *, step: str = "", files: Sequence[int] = ()) -> Iterator[str]:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            for line in stream_lines(arguments, environment=self._variables, files=files):
                if match := _STEP.match(line):
                    step = _OWN.sub("", match.group(1))
                    tail.clear()
                elif not line.startswith(_NOISE):
                    tail.append(_REPEATED.sub("", line))
                if not line.startswith(_NOISE):
                    yield line
        except subprocess.CalledProcessError as error:
            at = f" at: {step}" if step else ""
            raise BuildError("".join([f"The image could not be built. It failed{at}\n", *tail]).rstrip()) from error

    def _push(self, image: str) -> Iterator[str]:
        registry = Reference.parse(image).registry
        pushing = Pushing(self._places, self._login, base_repository_of(os.environ, registry))
        self._tell_push("Pushing image\n")
        try:
            yield from pushing.export(image, self._variables)
            digest = asyncio.run(pushing.send(image, self._tell_layer))
        except (subprocess.CalledProcessError, BinderOpsError) as error:
            raise ImageLoadError(f"The image could not be pushed: {error}") from error
        self._tell_push(f"Successfully pushed {image}@{digest}\n")

    def _tell_layer(self, layer: Descriptor, status: str) -> None:
        if layer.size < _SMALL_LAYER_BYTES:
            return
        progress: object = {"current": 0, "total": layer.size} if status == "Pushing" else status
        message = f"{layer_name(layer)}: {status} ({layer.size / 1e6:.1f} MB)\n"
        self._tell_push(message, progress={layer_name(layer): progress})

    def _tell_push(self, message: str, **extra: object) -> None:
        self.log.info(message, extra={"phase": R2dState.PUSHING, **extra})


def _text_of(path: str, dockerfile: str) -> str:
    return Path(dockerfile or Path(path) / "Dockerfile").read_text(encoding="utf-8", errors="replace")
