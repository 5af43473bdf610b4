"""What the actions answer: one typed result each, printed as a table or as JSON by one renderer."""

from __future__ import annotations

from datetime import datetime

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
    timings: dict[str, float] = {}
    seconds: float


class DeployResult(Result):
    """One Helm revision, ready."""

    release: str
    namespace: str
    revision: int
    objects: int
    changed: bool
    seconds: float
    settled: tuple[str, ...] = ()
    """What had been cut off before, and was settled first."""


class RecordResult(Result):
    """A proof as it stands in the ledger of the environment; digests are sha256:HEX, times in seconds."""

    number: int
    action: str
    verdict: str
    digest: str
    common: str
    revision: int | None
    time: str
    who: str
    seconds: dict[str, float]
    error: str | None
    without_proof: str | None


class DeployedResult(Result):
    """What `deploy` ends with: the release, and the proof with its record."""

    environment: str
    deploy: DeployResult
    proof: ProofResult
    record: RecordResult
    binder_url: str


class VerifyResult(Result):
    """What `verify` found: the live revision, proven."""

    environment: str
    revision: int
    proof: ProofResult
    record: RecordResult


class RollbackResult(Result):
    """Which revision was live, which one's state is live again, and its proof."""

    environment: str
    left: int
    back_to: int
    revision: int
    settled: str | None = None
    proof: ProofResult
    record: RecordResult


class LedgerResult(Result):
    """The records of an environment, oldest first, and how many a new beginning removed."""

    environment: str
    records: tuple[RecordResult, ...]
    removed: int = 0


class VerdictInfo(Result):
    """The last verdict on the secrets, quoted: when (None: never on this machine), the ids of its findings, and whether
    everything that it is about is still as it was.
    """

    checked: datetime | None = None
    findings: tuple[str, ...] = ()
    current: bool = False


class PartResult(Result):
    """One part of a state."""

    name: str
    digest: str
    common: bool


class StateResult(Result):
    """What would run in an environment: the whole digest, the common one, and the parts of both."""

    environment: str
    digest: str
    common: str
    parts: tuple[PartResult, ...]
    secrets: VerdictInfo | None = None


class EnvironmentResult(Result):
    """One environment of binderops.yaml: what it points at, and what is live."""

    environment: str
    target: str
    namespace: str
    release: str
    binder_url: str | None
    layers: tuple[str, ...]
    promotes_to: tuple[str, ...]
    waits_for: tuple[str, ...]
    running: bool
    live: str


class EnvironmentsResult(Result):
    """All of them."""

    environments: tuple[EnvironmentResult, ...]


class OriginResult(Result):
    """One place that sets a key: file:line and the value there (a secret is its digest)."""

    where: str
    value: str
    wins: bool


class ExplainResult(Result):
    """Where a key's value comes from: the winning place first, then those that it covers."""

    environment: str
    key: str
    value: str
    places: tuple[OriginResult, ...]


class NewEnvironmentResult(Result):
    """What was written for a new environment, and what is left to do, a line each."""

    environment: str
    written: tuple[str, ...]
    left: tuple[str, ...]


class UpResult(Result):
    """What `up` ends with. `try_url` is null where visitors are not offered folders; `try_command` works everywhere."""

    environment: str
    machine: str
    images: str
    target: str
    deploy: DeployResult
    proof: ProofResult
    record: RecordResult
    binder_url: str
    try_url: str | None
    try_command: str


class PodStatus(Result):
    """One pod: what kubectl prints of it, whether it is ready, and why not.

    `status` and `containers` ("1/2" ready) are kubectl's STATUS and READY. `well` is false for what somebody should
    look at: it neither is ready nor has done its work, nor failed and was replaced by its owner.
    """

    name: str
    app: str
    phase: str
    status: str
    containers: str
    ready: bool
    well: bool
    restarts: int
    reason: str


class EnvironmentStatus(Result):
    """One environment as it is now.

    `wanted` is the digest of the files' state, `live` that of the newest revision, `proven` the live state's newest
    record; `made` is false for a target that was never started.
    """

    environment: str
    target: str
    running: bool
    release: str | None = None
    revision: int | None = None
    release_status: str | None = None
    binder_url: str | None = None
    wanted: str | None = None
    live: str | None = None
    proven: RecordResult | None = None
    notes: tuple[str, ...] = ()
    made: bool = True
    pods: tuple[PodStatus, ...] = ()


class StatusResult(Result):
    """All environments of the repository, and the last verdict on its secrets; None where it seals nothing."""

    environments: tuple[EnvironmentStatus, ...]
    secrets: VerdictInfo | None = None


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
