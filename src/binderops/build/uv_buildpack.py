"""The buildpack for Python repositories: the notebook base and uv, seconds where conda takes minutes.

It stands first in repo2docker's list, and claims only what it can honour whole (`uv_files`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repo2docker.buildpacks import BuildPack

from binderops.build.configuration import base_reference
from binderops.build.places import PodPlaces
from binderops.build.uv_dockerfile import USER_ID, USER_NAME, Recipe
from binderops.build.uv_files import EnvironmentFiles
from binderops.errors import BuildError

_DEFAULT_BASE = "localhost/binderops/notebook:latest"
_RENDERED = {"NB_USER", "NB_UID", "REPO_DIR"}


class UvBuildPack(BuildPack):  # type: ignore[misc]
    """requirements.txt, pyproject.toml, runtime.txt, apt.txt, postBuild, start, or no environment file at all."""

    def detect(self) -> bool:
        """Whether every environment file of the repository (the current folder) is honoured here."""
        return EnvironmentFiles(Path.cwd()).unsupported() is None

    def render(self, build_args: Mapping[str, str] | None = None) -> str:
        """Return the Dockerfile."""
        arguments = dict(build_args or {})
        user = (arguments.get("NB_USER", USER_NAME), arguments.get("NB_UID", str(USER_ID)))
        if user != (USER_NAME, str(USER_ID)):
            raise BuildError(
                f"images of the notebook base run as {USER_NAME} ({USER_ID})",
                why=f"--user-name and --user-id ask for {user[0]} ({user[1]})",
                hint="leave both out",
            )
        recipe = Recipe(
            base=base_reference(PodPlaces(), os.environ.get("BASE_IMAGE") or _DEFAULT_BASE),
            files=EnvironmentFiles(Path.cwd()),
            labels=self.get_labels(),
            appendix=self.appendix,
        )
        target = arguments.get("REPO_DIR")
        return (Recipe(**{**vars(recipe), "target": target}) if target else recipe).render()

    def build(
        self,
        client: Any,
        image_spec: str,
        memory_limit: int,
        build_args: Mapping[str, str],
        cache_from: Sequence[str],
        extra_build_kwargs: Mapping[str, object],
        platform: str | None = None,
    ) -> Iterator[str]:
        """Build from the checkout itself: it is not copied, and may be large."""
        with tempfile.TemporaryDirectory() as folder:
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text(self.render(build_args), encoding="utf-8")
            yield from client.build(
                path=str(Path.cwd()),
                dockerfile=str(dockerfile),
                tag=image_spec,
                # What repo2docker adds itself is rendered; the rest is for an appendix, and for the steps' environment.
                buildargs={name: value for name, value in build_args.items() if name not in _RENDERED},
                **extra_build_kwargs,
            )
