"""Images of the node that a power cut tore go before any pod is started from them: their pods have them pulled anew."""

from __future__ import annotations

import asyncio

import structlog

from binderops.errors import BinderOpsError
from binderops.node.pods import registration
from binderops.node.pods.kit import Kit
from binderops.podman.tears import Restarts, make_removable, torn_images

log = structlog.get_logger(__name__)

REASON = "TornImage"


async def remove_torn_images(kit: Kit) -> None:
    """Remove what is torn in the node's own store, and name what is in the platform's: `up` makes that anew."""
    restarts = Restarts(kit.config.state / "boot-id")
    own = kit.config.state / "podman" / "storage"
    try:
        torn = await asyncio.to_thread(torn_images, own, files=restarts.seen())
        used = {str(c["ImageID"]) for c in await kit.podman.containers.list_all() if c.get("State") == "running"}
        if torn:
            await asyncio.to_thread(make_removable, own)
        for identity in (image for image in torn if image not in used):
            await kit.podman.images.remove(identity, force=True)
            await _tell(kit, f"image {identity[:12]} was not whole on the disk ({torn[identity]}): it was removed")
        restarts.note()
        for store in kit.config.image_stores:
            for identity, why in (await asyncio.to_thread(torn_images, store)).items():
                await _tell(kit, f"platform image {identity[:12]} is not whole on the disk ({why}): run `binderops up`")
    except (BinderOpsError, OSError) as error:
        log.warning("the images could not be looked through", error=str(error))


async def _tell(kit: Kit, message: str) -> None:
    log.warning(message)
    await kit.recorder.event(registration.node_object(kit.config), REASON, message, "Warning")
