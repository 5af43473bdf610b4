"""Which tests run beside one another: whole rooms, so that what a room's tests share is made once.

The journeys are one lane's from the first moment on: they wait more than they compute, and last as
long as all the rest.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

JOURNEYS = "e2e"


def room(nodeid: str) -> str:
    """The folder below `tests` that a test stands in: `lego`, or `node/pods`, since the node's rooms are many."""
    folders = PurePosixPath(nodeid.split("::", 1)[0]).parent.parts[1:]
    return "/".join(folders[:2]) if folders else ""


class ByRoom(LoadScopeScheduling):
    """Hands out whole rooms, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return room(nodeid)
