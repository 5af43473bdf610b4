"""What the actions answer: one typed result each, printed as a table or as JSON by one renderer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """The common root; every field is fit to be shown."""

    model_config = ConfigDict(frozen=True)


class LaunchResult(Result):
    """A launch that was followed to the Lab page. Times in seconds since the event stream was opened."""

    spec: str
    url: str
    image: str
    built: bool
    seconds: float
    phases: dict[str, float]


class ProofResult(Result):
    """A launch with a kernel that added two random numbers."""

    launch: LaunchResult
    expression: str
    answer: int
    seconds: float


class DeployResult(Result):
    """One Helm revision, ready."""

    release: str
    namespace: str
    revision: int
    objects: int
    changed: bool
    seconds: float


class UpResult(Result):
    """What `up` ends with."""

    environment: str
    machine: str
    images: str
    target: str
    deploy: DeployResult
    proof: ProofResult
    binder_url: str
    try_url: str


class PodStatus(Result):
    """One pod: phase, whether it is ready, restarts, and why not ready."""

    name: str
    app: str
    phase: str
    ready: bool
    restarts: int
    reason: str


class EnvironmentStatus(Result):
    """One environment as it is now."""

    environment: str
    target: str
    running: bool
    release: str | None = None
    revision: int | None = None
    release_status: str | None = None
    binder_url: str | None = None
    pods: tuple[PodStatus, ...] = ()


class StatusResult(Result):
    """All environments of the repository."""

    environments: tuple[EnvironmentStatus, ...]


class DownResult(Result):
    """What was stopped."""

    environment: str
    target: str


class PurgeResult(Result):
    """What was removed, and what stays (a line each)."""

    environment: str
    removed: tuple[str, ...]
    stays: tuple[str, ...]


class KubeconfigResult(Result):
    """Where the kubeconfig lies, and what it holds."""

    environment: str
    path: str
    context: str | None
    content: str


class ImagesResult(Result):
    """The platform's images on this machine: name -> digest."""

    images: dict[str, str]
