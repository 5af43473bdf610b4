"""The door to Podman: an engine of one's own on this machine, and its libpod API.

settings = EngineSettings.of_machine(folder, run=..., storage=..., image_stores=(...,))
await start_service(settings)
async with Podman(settings.socket) as podman:
    await podman.images.pull("registry.binder.svc:5000/app:1", credentials=("pull", "..."))
"""

from __future__ import annotations

from binderops.podman.client import EngineEvent, Podman
from binderops.podman.service import command, find_service, start_service, stop_service
from binderops.podman.settings import EngineSettings, hosts_text
from binderops.podman.streams import STDERR, STDIN, STDOUT, RawStream

__all__ = [
    "STDERR",
    "STDIN",
    "STDOUT",
    "EngineEvent",
    "EngineSettings",
    "Podman",
    "RawStream",
    "command",
    "find_service",
    "hosts_text",
    "start_service",
    "stop_service",
]
