"""The errors of the whole project, one tree.

    BinderOpsError
    ├── UsageError               a command was called in a way that cannot work
    ├── MachineError             this machine cannot do it: not root, a port taken, a disk full, a kernel too old
    │   └── StoreFailedError     the node's store cannot be opened, or did not take a write
    ├── StateError               a file of the deployment is wrong
    │   ├── ValuesError          a values file: a key, a type, a place
    │   └── ChartError           a chart: missing, stale, or it does not render
    ├── SecretsError             a sealed file cannot be opened, or holds what it must not
    │   ├── NotAReaderError      it is sealed for others: none of the keys at hand opens it
    │   ├── NotSealedError       a file that should be sealed lies there in clear
    │   └── SealBrokenError      it was changed without its key: its MAC does not fit
    ├── HelmError                Helm refused, or did not answer in time
    ├── TargetError              the place to run cannot be reached or made
    ├── DeliveryError            a deployment did not become what it should be
    │   ├── NotReadyError        an object cannot get ready, and why
    │   ├── ProofError           the deployment is up, but a launch on it failed
    │   ├── PromotionError       another environment has not proven this state yet
    │   ├── RollbackError        there is no proven revision to go back to
    │   └── LedgerError          the records of proofs do not fit together: somebody changed them
    ├── ImageError               an image cannot be built, found or published
    ├── KubernetesError          the Kubernetes API answered with a Status that is not success
    │   ├── NotFoundError        404
    │   ├── ConflictError        409, of a resource version or of field owners
    │   ├── AlreadyExistsError   409, with reason AlreadyExists
    │   ├── GoneError            410: the resource version is too old, list again
    │   ├── ForbiddenError       403
    │   └── InvalidError         422, or 400: the object is not acceptable
    ├── RegistryError            an image registry refused, or sent what is not a manifest
    ├── BinderError              the binder cannot serve a request for an environment
    │   ├── SpecError            the request does not name a repository that may be launched
    │   ├── QuotaError           it could, but not now: too many servers run
    │   ├── BuildError           a build pod could not do its work
    │   └── HubError             the hub refused, or a server did not start
    ├── ProxyConfigurationError  nginx does not accept a configuration; the one before stays in force
    ├── CertificateError         a certificate cannot be had, or is not one that may be served
    │   ├── AcmeError            an ACME server refused, failed, or did not answer
    │   └── SelfCheckError       a challenge's path does not lead to the solver, so no order was placed
    ├── GitError                 git could not resolve or fetch
    ├── NetworkError             the kernel refused a network, an address, a rule
    ├── SpawnError               a user's server ended, or did not answer, while the hub started it
    ├── EngineError              Podman refused, or did not answer in time
    │   ├── EngineNotFoundError     no such image or container
    │   ├── EngineUnavailableError  its service does not answer on its socket
    │   └── PullError               an image cannot be pulled
    └── PodError                 a pod cannot run as its spec wants
        ├── ContainerConfigError    a container's configuration: something missing, or not allowed
        ├── VolumeSetupError        a volume: something missing, or a path that leads out of it
        └── ContainerImageError     a container's image cannot be had (`reason` is the kubelet's)

Every error says what, where, why and what to do; `reference` is its id in docs/operate/errors.md. Rooms add subclasses
here, never elsewhere, so that this picture stays whole.
"""

from __future__ import annotations

from typing import ClassVar


class BinderOpsError(Exception):
    """The root: `what` failed, `where` (file:line, key, object), `why`, and what to do about it (`hint`)."""

    reference: ClassVar[str] = "error"

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.why:
            parts.append(f"why: {self.why}")
        if self.hint:
            parts.append(f"what to do: {self.hint}")
        return "; ".join(parts)


class UsageError(BinderOpsError):
    """A command was called in a way that cannot work."""

    reference = "usage"


class MachineError(BinderOpsError):
    """This machine cannot do what was asked."""

    reference = "machine"


class StoreFailedError(MachineError):
    """The node's store cannot be opened, or the disk did not take a write: nothing of that write was stored."""

    reference = "machine.store"


class StateError(BinderOpsError):
    """A file of the deployment is wrong."""

    reference = "state"


class ValuesError(StateError):
    """A values file is wrong: a key, a type, a place."""

    reference = "state.values"


class ChartError(StateError):
    """A chart is missing, stale, or does not render."""

    reference = "state.chart"


class SecretsError(BinderOpsError):
    """A sealed file cannot be opened, or holds what it must not."""

    reference = "secrets"


class NotAReaderError(SecretsError):
    """A sealed file is for others; the text names its readers and the keys at hand."""

    reference = "secrets.not-a-reader"


class NotSealedError(SecretsError):
    """A file that should be sealed lies there in clear."""

    reference = "secrets.not-sealed"


class SealBrokenError(SecretsError):
    """A sealed file was changed without its key: its message authentication code does not fit."""

    reference = "secrets.broken"


class HelmError(BinderOpsError):
    """Helm refused, or did not answer in time."""

    reference = "helm"


class TargetError(BinderOpsError):
    """The place to run cannot be reached or made."""

    reference = "target"


class DeliveryError(BinderOpsError):
    """A deployment did not become what it should be."""

    reference = "delivery"


class NotReadyError(DeliveryError):
    """An object cannot get ready; `why` quotes the reason (image, crash with its last log lines, probe)."""

    reference = "delivery.not-ready"


class ProofError(DeliveryError):
    """The deployment is up, but a launch on it failed."""

    reference = "delivery.proof"


class PromotionError(DeliveryError):
    """The environment that promotes here has not proven this common part; `why` says what is missing."""

    reference = "delivery.promotion"


class RollbackError(DeliveryError):
    """No revision that Helm still has was ever proven, or only the live one."""

    reference = "delivery.rollback"


class LedgerError(DeliveryError):
    """A record of a proof was changed, removed or put in: the chain of hashes does not fit."""

    reference = "ledger.broken"


class ImageError(BinderOpsError):
    """An image cannot be built, found or published."""

    reference = "images"


class KubernetesError(BinderOpsError):
    """The Kubernetes API answered with a Status that is not success (`code` is HTTP's, `status` the whole Status)."""

    reference = "kubernetes"

    def __init__(
        self,
        what: str,
        *,
        code: int = 0,
        reason: str = "",
        status: dict[str, object] | None = None,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.code = code
        self.reason = reason
        self.status = status or {}


class NotFoundError(KubernetesError):
    """404."""

    reference = "kubernetes.not-found"


class ConflictError(KubernetesError):
    """409: the resource version is stale, or another manager owns a field."""

    reference = "kubernetes.conflict"


class AlreadyExistsError(ConflictError):
    """409 with reason AlreadyExists."""

    reference = "kubernetes.already-exists"


class GoneError(KubernetesError):
    """410: the resource version is too old; list again."""

    reference = "kubernetes.gone"


class ForbiddenError(KubernetesError):
    """403."""

    reference = "kubernetes.forbidden"


class InvalidError(KubernetesError):
    """422 or 400: the object is not acceptable."""

    reference = "kubernetes.invalid"


class RegistryError(BinderOpsError):
    """An image registry refused, or sent what is not a manifest."""

    reference = "registry"


class GitError(BinderOpsError):
    """Git could not resolve or fetch."""

    reference = "git"


class EngineError(BinderOpsError):
    """Podman refused, or did not answer in time."""

    reference = "engine"


class EngineNotFoundError(EngineError):
    """No such image or container."""

    reference = "engine.not-found"


class EngineUnavailableError(EngineError):
    """Podman's service does not answer on its socket."""

    reference = "engine.unavailable"


class PullError(EngineError):
    """An image cannot be pulled; `why` is the registry's or Podman's reason."""

    reference = "engine.pull"


class NetworkError(BinderOpsError):
    """The kernel, or a program that shapes its network, refused a namespace, an address, a route or a rule."""

    reference = "network"


class BinderError(BinderOpsError):
    """The binder cannot serve a request; `what` is the text that the launch page shows."""

    reference = "binder"


class SpecError(BinderError):
    """The request does not name a repository that may be launched here."""

    reference = "binder.spec"


class QuotaError(BinderError):
    """Too many servers run (`label` is the metric's: pod_quota or repo_quota)."""

    reference = "binder.quota"

    def __init__(self, what: str, *, label: str) -> None:
        super().__init__(what)
        self.label = label


class BuildError(BinderError):
    """A build pod could not do its work."""

    reference = "binder.build"


class HubError(BinderError):
    """The hub refused, or a server did not start."""

    reference = "binder.hub"


class ProxyConfigurationError(BinderOpsError):
    """The proxy (nginx) does not accept a configuration; the one before stays in force."""

    reference = "ingress.configuration"


class CertificateError(BinderOpsError):
    """A certificate cannot be had, or is not one that may be served; `reason` is one word for metrics and Events."""

    reference = "lego"

    def __init__(
        self,
        what: str,
        *,
        reason: str,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.reason = reason


class AcmeError(CertificateError):
    """An ACME server refused (`reason` is its error's type, as RFC 8555 names it), failed, or did not answer.

    `retry_after` is in seconds from now, where the server named a time. `transient`: nothing was decided, and the order
    that the request was about may go on.
    """

    reference = "lego.acme"

    def __init__(
        self,
        what: str,
        *,
        reason: str,
        transient: bool = False,
        retry_after: float | None = None,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, reason=reason, where=where, why=why, hint=hint)
        self.transient = transient
        self.retry_after = retry_after


class SelfCheckError(CertificateError):
    """A challenge's path does not lead to the solver: the CA would be refused, too, so no order was placed."""

    reference = "lego.self-check"


class SpawnError(BinderOpsError):
    """A user's server ended, or did not answer, while the hub started it. The hub shows its text in the progress."""

    reference = "hub.spawn"

    @property
    def jupyterhub_message(self) -> str:
        """What JupyterHub shows to the user in place of its own words."""
        return str(self)


class PodError(BinderOpsError):
    """A pod cannot run as its spec wants; `what` is in the kubelet's words."""

    reference = "pod"


class ContainerConfigError(PodError):
    """A container's configuration is not possible (the kubelet's CreateContainerConfigError)."""

    reference = "pod.container-config"


class VolumeSetupError(PodError):
    """A volume cannot be set up (the kubelet's FailedMount)."""

    reference = "pod.volume"


class ContainerImageError(PodError):
    """A container's image cannot be had; `reason` is ErrImagePull, ErrImageNeverPull or InvalidImageName."""

    reference = "pod.image"

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason
