"""How many servers may run: on the whole, and of one repository. Unlike upstream, a launch counts from its check on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from binderops.binder.builds.pods import Pods
from binderops.binder.launches.launcher import Launched
from binderops.errors import QuotaError
from binderops.kube.kinds import Object
from binderops.kube.objects import annotations_of, spec_of

_USER = "hub.jupyter.org/username"


class Servers:
    """Users' servers: pods that have not ended, and launches that have none yet.

    Many who launch at once would else all be let through: a pod is seen a moment after the check.
    """

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._starting: dict[int, tuple[Launched, str]] = {}

    def check(self, *, total: int | None, image: str, repo_quota: int, repo_url: str) -> None:
        """Raises QuotaError where another server would be one too many."""
        starting = self._without_pods()
        if total is not None and len(self._pods.users) + len(starting) >= total:
            raise QuotaError("Too many users on this BinderHub! Try again soon.", label="pod_quota")
        name = _without_tag(image)
        if repo_quota and self._pods_of(name) + starting.count(name) >= repo_quota:
            raise QuotaError(f"Too many users running {repo_url}! Try again soon.", label="repo_quota")

    @contextmanager
    def starting(self, launched: Launched, image: str) -> Iterator[None]:
        """Count a launch that passed the check, until its pod is seen or the block ends."""
        self._starting[id(launched)] = (launched, _without_tag(image))
        try:
            yield
        finally:
            del self._starting[id(launched)]

    def _without_pods(self) -> list[str]:
        """The images (without tags) of launches whose pods are not there yet."""
        users = {annotations_of(pod).get(_USER) for pod in self._pods.users} if self._starting else set()
        return [image for launched, image in self._starting.values() if launched.user not in users]

    def _pods_of(self, name: str) -> int:
        """The servers of one repository, at any of its references."""
        return sum(1 for pod in self._pods.users if name in map(_without_tag, _images(pod)))


def total_pods(pods: Pods) -> int:
    """All servers of users that have not ended."""
    return len(pods.users)


def _images(pod: Object) -> list[str]:
    return [str(container.get("image", "")) for container in spec_of(pod).get("containers") or []]


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.partition(":")[0]
