"""`python -m binderops.build.seeding IMAGE`: the notebook base sent to the registry once, for all builds to mount from.

The binder runs it in a pod like a build's, with a credential for that one repository. What is sent lies beside the base
in the read-only store, compressed when the machine's images were built.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from binderops.build.layout import Layout
from binderops.build.leaving import REGISTRY
from binderops.build.places import PodPlaces
from binderops.build.pushing import Login, registry_of
from binderops.errors import BinderOpsError, BuildError
from binderops.oci.references import Reference
from binderops.oci.registry import Registry


async def seed(image: str, places: PodPlaces, login: Login, *, tell: Callable[[str], None]) -> str:
    """Push the base as `image` (REGISTRY/REPOSITORY:TAG), without what is there already; returns its digest.

    Raises BuildError where the store holds no layout, RegistryError for what the registry refuses.
    """
    if not (places.layout / "index.json").is_file():
        raise BuildError("the notebook base cannot be sent", where=str(places.layout), why="there is no OCI layout")
    reference, layout = Reference.parse(image), Layout(places.layout)
    manifest = layout.manifest()
    async with registry_of(reference, login) as registry:
        for blob in (*manifest.layers, manifest.config):
            sent = await _send(registry, reference.repository, layout, digest=blob.digest, media_type=blob.media_type)
            tell(f"{blob.digest}: {f'sent {blob.size} bytes' if sent else 'is there'}")
        return await registry.put_manifest(reference.repository, reference.tag or "latest", manifest)


async def _send(registry: Registry, repository: str, layout: Layout, *, digest: str, media_type: str) -> bool:
    if await registry.has_blob(repository, digest):
        return False
    await registry.push_blob(repository, layout.blob(digest), media_type)
    return True


def main(argv: Sequence[str]) -> int:
    """Seed as the arguments say; returns the exit code, and has said in one line why it is not 0."""
    parser = argparse.ArgumentParser(prog="binderops.build.seeding", description="Send the notebook base.")
    parser.add_argument("image", help="REGISTRY/REPOSITORY:TAG")
    image = parser.parse_args(argv).image
    try:
        digest = asyncio.run(seed(image, PodPlaces(), Login.from_json(os.environ.get(REGISTRY, "")), tell=_tell))
    except BinderOpsError as error:
        _tell(str(error))
        return 1
    _tell(f"{image} is {digest}")
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the pod's log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
