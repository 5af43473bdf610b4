"""repo2docker's own buildpacks, which fetch from far: where that is out of reach, one sentence, not a long wait."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from repo2docker.buildpacks import BuildPack, DockerBuildPack, LegacyBinderDockerBuildPack

from binderops.build.uv_files import EnvironmentFiles
from binderops.errors import BuildError

_PROBE_SECONDS = 8.0
_HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
_REGISTRY, _CONDA, _CRAN, _JULIA, _NIX = (
    "https://registry-1.docker.io/v2/",
    "https://conda.anaconda.org/conda-forge/noarch/repodata.json.zst",
    "https://packagemanager.posit.co/",
    "https://julialang-s3.julialang.org/",
    "https://cache.nixos.org/nix-cache-info",
)
_NEEDS = {
    "CondaBuildPack": (_REGISTRY, _CONDA),
    "PythonBuildPack": (_REGISTRY, _CONDA),
    "PipfileBuildPack": (_REGISTRY, _CONDA),
    "RBuildPack": (_REGISTRY, _CONDA, _CRAN),
    "JuliaProjectTomlBuildPack": (_REGISTRY, _CONDA, _JULIA),
    "JuliaRequireBuildPack": (_REGISTRY, _CONDA, _JULIA),
    "NixBuildPack": (_REGISTRY, _NIX),
}


_OTHER_LANGUAGES = re.compile(r"(?P<name>r|julia)-")


def probing(buildpack: type[BuildPack]) -> type[BuildPack]:
    """Return the buildpack, made to look before it builds whether what it needs can be reached.

    Dockerfiles say themselves what they need, so their buildpacks stay as they are.
    """
    if issubclass(buildpack, (DockerBuildPack, LegacyBinderDockerBuildPack)):
        return buildpack

    class Probing(buildpack):  # type: ignore[misc]
        def render(self, *arguments: Any, **keywords: Any) -> Any:
            # repo2docker renders before it builds, and some buildpacks ask a server for that already.
            require_reachable(buildpack.__name__, base_image=self.base_image, files=EnvironmentFiles(Path.cwd()))
            return super().render(*arguments, **keywords)

    Probing.__name__ = Probing.__qualname__ = buildpack.__name__
    return Probing


class Unclaimed(BuildPack):  # type: ignore[misc]
    """Stands last: what no buildpack claimed holds a file that would be ignored in silence. It is named instead."""

    def detect(self) -> bool:
        """Return True."""
        return True

    def render(self, build_args: Mapping[str, str] | None = None) -> str:
        """Raise BuildError."""
        file = EnvironmentFiles(Path.cwd()).unsupported() or "what this repository holds"
        wanted = " (an R or Julia version alone is not enough)" if _is_other_language(file) else ""
        raise BuildError(
            f"{file} is not supported here",
            why=f"no buildpack of repo2docker takes a repository with it and no more{wanted}",
            hint=_instead(file),
        )


def require_reachable(name: str, *, base_image: str, files: EnvironmentFiles) -> None:
    """Raise BuildError when a server that the buildpack `name` needs cannot be reached: it names the file and why."""
    missing = [url for url in _NEEDS.get(name, (_REGISTRY,)) if not _answers(url)]
    if missing:
        file = files.unsupported() or "this repository"
        hosts = ", ".join(dict.fromkeys(urlsplit(url).netloc for url in missing))
        raise BuildError(
            f"{file} is not supported here",
            why=f"only repo2docker's {name} could build it (from {base_image}), and it needs {hosts}, which builds of "
            f"this service cannot reach; its own builder has Python {_HERE}",
            hint=_instead(file),
        )


def _is_other_language(file: str) -> bool:
    return "(" in file and bool(_OTHER_LANGUAGES.match(file.partition("(")[2]))


def _instead(file: str) -> str:
    """What the author can do about the file that no builder here honours."""
    if file.startswith("runtime.txt") and not _is_other_language(file):
        return f"write python-{_HERE} into runtime.txt or remove it; or write a Dockerfile for another Python"
    if file.startswith("pyproject.toml"):
        return f"let requires-python allow {_HERE}; or write a Dockerfile for another Python"
    if file.endswith(("environment.yml", "Pipfile", "Pipfile.lock")):
        return f"list the same Python packages in requirements.txt and remove {file}; or write a Dockerfile"
    return "write a Dockerfile that installs it and JupyterLab"


def _answers(url: str) -> bool:
    try:
        httpx.head(url, timeout=_PROBE_SECONDS, follow_redirects=True)
    except httpx.HTTPError:
        return False
    return True
