"""How many servers may run: on the whole, and of one repository. Nothing is reserved, as upstream."""

from __future__ import annotations

from binderops.binder.builds.pods import Pods
from binderops.errors import QuotaError
from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of


def check_quota(pods: Pods, *, total: int | None, image: str, repo_quota: int, repo_url: str) -> None:
    """Raises QuotaError where another server would be one too many."""
    if total is not None and total_pods(pods) >= total:
        raise QuotaError("Too many users on this BinderHub! Try again soon.", label="pod_quota")
    if repo_quota and servers_of(pods, image) >= repo_quota:
        raise QuotaError(f"Too many users running {repo_url}! Try again soon.", label="repo_quota")


def total_pods(pods: Pods) -> int:
    """All servers of users that have not ended."""
    return len(pods.users)


def servers_of(pods: Pods, image: str) -> int:
    """The servers of one repository, at any of its references."""
    name = _without_tag(image)
    return sum(1 for pod in pods.users if name in map(_without_tag, _images(pod)))


def _images(pod: Object) -> list[str]:
    return [str(container.get("image", "")) for container in spec_of(pod).get("containers") or []]


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.partition(":")[0]
