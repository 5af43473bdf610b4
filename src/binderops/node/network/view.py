"""What this room sees of the API: the objects of five kinds, and a bell that rings when one of them changes.

The dictionaries are the informers' own (or a test's); nobody here changes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from binderops.kube.objects import without_version

Object = Mapping[str, Any]
Objects = Mapping[tuple[str, str], Object]
"""By (namespace, name); the namespace is "" for Namespaces."""


@dataclass
class ClusterView:
    """Namespaces, pods, Services, EndpointSlices and NetworkPolicies as last seen."""

    namespaces: Objects = field(default_factory=dict)
    pods: Objects = field(default_factory=dict)
    services: Objects = field(default_factory=dict)
    slices: Objects = field(default_factory=dict)
    policies: Objects = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notice(self, event_type: str, new: Object, old: Object | None) -> None:
        """Ring, for an informer's callback: unless all that is kept of the object is what it was.

        A pod is changed some ten times while it starts, mostly in what this room does not read.
        """
        if event_type != "MODIFIED" or old is None or without_version(new) != without_version(old):
            self.changed.set()
