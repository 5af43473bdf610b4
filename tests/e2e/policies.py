"""The release's NetworkPolicies, taken away for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Kubectl = Callable[..., str]


@contextmanager
def without_policies(kubectl: Kubectl) -> Iterator[None]:
    """Without any NetworkPolicy; what is given back is as Helm made it."""
    policies = json.loads(kubectl("get", "networkpolicy", "-o", "json"))
    for policy in policies["items"]:
        for key in ("managedFields", "uid", "resourceVersion", "creationTimestamp", "generation"):
            policy["metadata"].pop(key, None)
    assert policies["items"]
    kubectl("delete", "networkpolicy", "--all")
    try:
        yield
    finally:
        kubectl("apply", "--server-side", "--field-manager=helm", "-f", "-", given=json.dumps(policies))
