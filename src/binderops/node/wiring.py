"""Which rooms run beside the API, and what each is given."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from binderops.node.config import NodeConfig
from binderops.node.rooms import Room


@contextlib.asynccontextmanager
async def other_rooms(config: NodeConfig) -> AsyncIterator[list[Room]]:
    """The rooms beside the API, each with a client of its own; the clients are closed afterwards."""
    yield []


async def stop_everything(config: NodeConfig) -> None:
    """Stop the pods, the forwarder and the network of a node whose process does not run."""
