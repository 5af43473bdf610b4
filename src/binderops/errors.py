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

    def __init_subclass__(cls, *, reference: str) -> None:
        super().__init_subclass__()
        cls.reference = reference

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


class UsageError(BinderOpsError, reference="usage"):
    """A command was called in a way that cannot work."""


class MachineError(BinderOpsError, reference="machine"):
    """This machine cannot do what was asked."""


class StoreFailedError(MachineError, reference="machine.store"):
    """The node's store cannot be opened, or the disk did not take a write: nothing of that write was stored."""


class StateError(BinderOpsError, reference="state"):
    """A file of the deployment is wrong."""


class ValuesError(StateError, reference="state.values"):
    """A values file is wrong: a key, a type, a place."""


class ChartError(StateError, reference="state.chart"):
    """A chart is missing, stale, or does not render."""


class SecretsError(BinderOpsError, reference="secrets"):
    """A sealed file cannot be opened, or holds what it must not."""


class NotAReaderError(SecretsError, reference="secrets.not-a-reader"):
    """A sealed file is for others; the text names its readers and the keys at hand."""


class NotSealedError(SecretsError, reference="secrets.not-sealed"):
    """A file that should be sealed lies there in clear."""


class SealBrokenError(SecretsError, reference="secrets.broken"):
    """A sealed file was changed without its key: its message authentication code does not fit."""


class HelmError(BinderOpsError, reference="helm"):
    """Helm refused, or did not answer in time."""


class TargetError(BinderOpsError, reference="target"):
    """The place to run cannot be reached or made."""


class DeliveryError(BinderOpsError, reference="delivery"):
    """A deployment did not become what it should be."""


class NotReadyError(DeliveryError, reference="delivery.not-ready"):
    """An object cannot get ready; `why` quotes the reason (image, crash with its last log lines, probe)."""


class ProofError(DeliveryError, reference="delivery.proof"):
    """The deployment is up, but a launch on it failed."""


class PromotionError(DeliveryError, reference="delivery.promotion"):
    """The environment that promotes here has not proven this common part; `why` says what is missing."""


class RollbackError(DeliveryError, reference="delivery.rollback"):
    """No revision that Helm still has was ever proven, or only the live one."""


class LedgerError(DeliveryError, reference="ledger.broken"):
    """A record of a proof was changed, removed or put in: the chain of hashes does not fit."""


class ImageError(BinderOpsError, reference="images"):
    """An image cannot be built, found or published."""


class KubernetesError(BinderOpsError, reference="kubernetes"):
    """The Kubernetes API answered with a Status that is not success (`code` is HTTP's, `status` the whole Status)."""

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


class NotFoundError(KubernetesError, reference="kubernetes.not-found"):
    """404."""


class ConflictError(KubernetesError, reference="kubernetes.conflict"):
    """409: the resource version is stale, or another manager owns a field."""


class AlreadyExistsError(ConflictError, reference="kubernetes.already-exists"):
    """409 with reason AlreadyExists."""


class GoneError(KubernetesError, reference="kubernetes.gone"):
    """410: the resource version is too old; list again."""


class ForbiddenError(KubernetesError, reference="kubernetes.forbidden"):
    """403."""


class InvalidError(KubernetesError, reference="kubernetes.invalid"):
    """422 or 400: the object is not acceptable."""


class RegistryError(BinderOpsError, reference="registry"):
    """An image registry refused, or sent what is not a manifest."""


class GitError(BinderOpsError, reference="git"):
    """Git could not resolve or fetch."""


class EngineError(BinderOpsError, reference="engine"):
    """Podman refused, or did not answer in time."""


class EngineNotFoundError(EngineError, reference="engine.not-found"):
    """No such image or container."""


class EngineUnavailableError(EngineError, reference="engine.unavailable"):
    """Podman's service does not answer on its socket."""


class PullError(EngineError, reference="engine.pull"):
    """An image cannot be pulled; `why` is the registry's or Podman's reason."""


class NetworkError(BinderOpsError, reference="network"):
    """The kernel, or a program that shapes its network, refused a namespace, an address, a route or a rule."""


class BinderError(BinderOpsError, reference="binder"):
    """The binder cannot serve a request; `what` is the text that the launch page shows."""


class SpecError(BinderError, reference="binder.spec"):
    """The request does not name a repository that may be launched here."""


class QuotaError(BinderError, reference="binder.quota"):
    """Too many servers run (`label` is the metric's: pod_quota or repo_quota)."""

    def __init__(self, what: str, *, label: str) -> None:
        super().__init__(what)
        self.label = label


class BuildError(BinderError, reference="binder.build"):
    """A build pod could not do its work."""


class HubError(BinderError, reference="binder.hub"):
    """The hub refused, or a server did not start."""


class ProxyConfigurationError(BinderOpsError, reference="ingress.configuration"):
    """The proxy (nginx) does not accept a configuration; the one before stays in force."""


class CertificateError(BinderOpsError, reference="lego"):
    """A certificate cannot be had, or is not one that may be served; `reason` is one word for metrics and Events."""

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


class AcmeError(CertificateError, reference="lego.acme"):
    """An ACME server refused (`reason` is its error's type, as RFC 8555 names it), failed, or did not answer.

    `retry_after` is in seconds from now, where the server named a time. `transient`: nothing was decided, and the order
    that the request was about may go on.
    """

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


class SelfCheckError(CertificateError, reference="lego.self-check"):
    """A challenge's path does not lead to the solver: the CA would be refused, too, so no order was placed."""


class SpawnError(BinderOpsError, reference="hub.spawn"):
    """A user's server ended, or did not answer, while the hub started it. The hub shows its text in the progress."""

    @property
    def jupyterhub_message(self) -> str:
        """What JupyterHub shows to the user in place of its own words."""
        return str(self)


class PodError(BinderOpsError, reference="pod"):
    """A pod cannot run as its spec wants; `what` is in the kubelet's words."""


class ContainerConfigError(PodError, reference="pod.container-config"):
    """A container's configuration is not possible (the kubelet's CreateContainerConfigError)."""


class VolumeSetupError(PodError, reference="pod.volume"):
    """A volume cannot be set up (the kubelet's FailedMount)."""


class ContainerImageError(PodError, reference="pod.image"):
    """A container's image cannot be had; `reason` is ErrImagePull, ErrImageNeverPull or InvalidImageName."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason
