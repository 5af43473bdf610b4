"""What a state is made of: each part with its digest, and whether environments have it in common.

Common are the charts, their values.yaml and the images. Layers are the environment's own, those among them too that
were found out about one machine. A sealed layer counts by what stands in the file: no key is needed to tell digests,
and a new reader does not change them (sops keeps the values' text then).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from binderops.state.chart import digest_of
from binderops.state.documents import Document
from binderops.state.release import ReleaseState
from binderops.state.settings import Environment
from binderops.state.values import get_path


@dataclass(frozen=True)
class Part:
    """One part of a state."""

    name: str
    digest: str
    common: bool


@dataclass(frozen=True)
class Composition:
    """The parts of a state, in order."""

    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """sha256 over every part; names of layers do not count, since another file name runs nothing else."""
        return digest_of([part.digest for part in self.parts])

    @property
    def common(self) -> str:
        """sha256 over the parts that environments have in common."""
        return digest_of([part.digest for part in self.parts if part.common])


def compose(
    environment: Environment,
    main: ReleaseState,
    before: Sequence[ReleaseState],
    *,
    images: Sequence[tuple[str, tuple[str, ...]]],
) -> Composition:
    """The parts of an environment's state: what is common first."""
    releases = (*before, main)
    common = [Part(name, digest, True) for name, digest in main.chart.parts]
    common += list(_images(main, images))
    # Releases that come before are the environment's own: another may have none, or others.
    own = [Part(name, digest, False) for release in before for name, digest in release.chart.parts]
    own += [
        Part(document.name, layer_digest(document), False) for found in releases for document in found.layers.documents
    ]
    named = [[found.namespace, found.release] for found in releases]
    settings = {"releases": named, "kubernetesVersion": environment.kubernetes_version}
    own.append(Part("namespaces and releases", digest_of(settings), False))
    return Composition((*common, *own))


def layer_digest(document: Document) -> str:
    """sha256 of what a layer says: comments and the order of keys do not count."""
    if document.sealed is not None:
        return digest_of([[list(path), text] for path, text in document.sealed])
    return digest_of(document.values)


def _images(main: ReleaseState, images: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Part]:
    for name, paths in images:
        for path in paths:
            found = get_path(main.values, path)
            if isinstance(found, dict):
                tag = str(found.get("tag", ""))
                yield Part(f"image {name}", tag if tag.startswith("sha256:") else digest_of(found), True)
