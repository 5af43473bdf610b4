"""repo2docker's own buildpacks, which fetch from far: where that is out of reach, one sentence, not a long wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from repo2docker.buildpacks import BuildPack, DockerBuildPack, LegacyBinderDockerBuildPack

from binderops.errors import BuildError

_PROBE_SECONDS = 8.0
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


def probing(buildpack: type[BuildPack]) -> type[BuildPack]:
    """Return the buildpack, made to look before it builds whether what it needs can be reached.

    Dockerfiles say themselves what they need, so their buildpacks stay as they are.
    """
    if issubclass(buildpack, (DockerBuildPack, LegacyBinderDockerBuildPack)):
        return buildpack

    class Probing(buildpack):  # type: ignore[misc]
        def build(self, *arguments: Any, **keywords: Any) -> Iterator[str]:
            require_reachable(buildpack.__name__, base_image=self.base_image)
            yield from super().build(*arguments, **keywords)

    Probing.__name__ = Probing.__qualname__ = buildpack.__name__
    return Probing


def require_reachable(name: str, *, base_image: str) -> None:
    """Raise BuildError when a server that the buildpack `name` needs cannot be reached."""
    missing = [url for url in _NEEDS.get(name, (_REGISTRY,)) if not _answers(url)]
    if missing:
        raise BuildError(
            f"{name} is not supported here",
            why=f"it builds from {base_image} and needs {', '.join(missing)}, which cannot be reached",
            hint="requirements.txt, pyproject.toml, runtime.txt, apt.txt, postBuild and start need none of them",
        )


def _answers(url: str) -> bool:
    try:
        httpx.head(url, timeout=_PROBE_SECONDS, follow_redirects=True)
    except httpx.HTTPError:
        return False
    return True
