"""What binderops.yaml may say: its models, from which its JSON Schema and the nearest right key come."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from binderops.errors import UsageError
from binderops.kube.quantity import to_bytes

PROJECT_FILE = "binderops.yaml"

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


def _below(path: str) -> str:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError("a path of this repository: not absolute, and without ..")
    return path


def _quantity(text: str) -> str:
    if to_bytes(text) < 0:
        raise ValueError("a number of bytes is not negative")
    return text


Quantity = Annotated[str, AfterValidator(_quantity)]
ValuesPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
RelativePath = Annotated[str, AfterValidator(_below)]


class Settings(BaseModel):
    """The common root: unknown keys are refused, names are camelCase as in Kubernetes."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class NodeSettings(Settings):
    """A node on this machine; ranges are chosen free of the machine's routes unless fixed here."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$")] = "local"
    api_port: Annotated[int, Field(ge=1, le=65535)] = 6443
    host_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    pod_range: str | None = None
    service_range: str | None = None
    image_budget: Annotated[
        Quantity | None, Field(description="what pulled images may hold on the disk (20Gi); none: 40Gi")
    ] = None


class ClusterSettings(Settings):
    """A Kubernetes cluster, by a kubeconfig: a file of the machine's, or one of this repository (then sealed)."""

    context: Annotated[str | None, Field(description="which context; none: the kubeconfig's current one")] = None
    kubeconfig: Annotated[
        str | None,
        Field(description="a path; below secret/ it is sealed, and opened in memory only. None: $KUBECONFIG"),
    ] = None

    @model_validator(mode="after")
    def _names_something(self) -> ClusterSettings:
        if self.context is None and self.kubeconfig is None:
            raise ValueError("name a context, a kubeconfig, or both")
        return self


class TargetSettings(Settings):
    """Where an environment runs: exactly one of `node` and `cluster`."""

    node: NodeSettings | None = None
    cluster: ClusterSettings | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> TargetSettings:
        if (self.node is None) == (self.cluster is None):
            raise ValueError("name exactly one of node and cluster")
        return self


class ReleaseSettings(Settings):
    """A release that must be there before the environment's own: a chart of this repository."""

    release: DnsLabel
    chart: Annotated[RelativePath, Field(description="folder of a chart, as `chart` is")]
    namespace: DnsLabel
    layers: tuple[RelativePath, ...] = ()
    timeout: Annotated[int, Field(ge=10, le=7200, description="seconds")] = 600


class Environment(Settings):
    """One environment: target, namespace, release, layers (in order, globs allowed) and what its proof launches."""

    target: TargetSettings
    namespace: DnsLabel = "binder"
    release: DnsLabel = "mybinder"
    layers: tuple[RelativePath, ...] = ()
    before: Annotated[
        tuple[ReleaseSettings, ...], Field(description="releases that must be ready first, in order")
    ] = ()
    promotes_to: Annotated[
        tuple[DnsLabel, ...], Field(description="environments that take only what this one has proven")
    ] = ()
    kubernetes_version: Annotated[
        str | None, Field(pattern=r"^1\.[0-9]{1,2}$", description="what the target's API must be, as in 1.33")
    ] = None
    proof: RelativePath = "examples/hello"
    timeout: Annotated[int, Field(ge=10, le=7200, description="seconds until a deployment must be ready")] = 600


class Project(Settings):
    """The whole file. `images` names, for each image, the values paths that its name and digest are written to."""

    chart: RelativePath = "mybinder"
    charts: RelativePath = "charts"
    images: dict[str, tuple[ValuesPath, ...]] = Field(default_factory=dict)
    environments: dict[DnsLabel, Environment]

    def environment(self, name: str) -> Environment:
        """The environment of that name; raises UsageError that names the nearest one."""
        if name in self.environments:
            return self.environments[name]
        near = difflib.get_close_matches(name, self.environments, n=1)
        known = ", ".join(sorted(self.environments))
        raise UsageError(
            f"there is no environment {name!r}",
            where=PROJECT_FILE,
            hint=f"did you mean {near[0]!r}?" if near else f"environments here: {known}",
        )

    def promoters_of(self, name: str) -> list[str]:
        """The environments whose proof this one waits for."""
        return [other for other, found in self.environments.items() if name in found.promotes_to]


def keys_at(path: tuple[str, ...]) -> list[str]:
    """The keys that may stand at a path of the file, as written; [] where it is free-form or unknown."""
    model: type[BaseModel] | None = Project
    for part in path:
        if model is Project and part == "environments":
            model = None
        elif model is None:
            model = Environment
        elif not part.isdigit():
            model = _nested(model, part)
            if model is None:
                return []
    return [to_camel(name) for name in model.model_fields] if model else []


def _nested(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    for name, field in model.model_fields.items():
        if to_camel(name) == key:
            return next(_models(field.annotation), None)
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of binderops.yaml, for editors (docs/binderops.schema.json)."""
    return Project.model_json_schema(by_alias=True)
