"""binderops.yaml: the environments of one repository, where each runs and which layers it is made of."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from binderops.errors import UsageError, ValuesError
from binderops.state.documents import Document, read_document

PROJECT_FILE = "binderops.yaml"

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class NodeSettings(_Settings):
    """A node on this machine; ranges are chosen free of the machine's routes unless fixed here."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$")] = "local"
    api_port: Annotated[int, Field(ge=1, le=65535)] = 6443
    host_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    pod_range: str | None = None
    service_range: str | None = None


class ClusterSettings(_Settings):
    """A Kubernetes cluster, by a context of a kubeconfig file."""

    context: str
    kubeconfig: str | None = None


class TargetSettings(_Settings):
    """Where an environment runs: exactly one of `node` and `cluster`."""

    node: NodeSettings | None = None
    cluster: ClusterSettings | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> TargetSettings:
        if (self.node is None) == (self.cluster is None):
            raise ValueError("name exactly one of node and cluster")
        return self


class Environment(_Settings):
    """One environment: target, namespace, release, layers (in order, globs allowed) and what its proof launches."""

    target: TargetSettings
    namespace: DnsLabel = "binder"
    release: DnsLabel = "mybinder"
    layers: tuple[str, ...] = ()
    proof: str = "examples/hello"
    timeout: Annotated[int, Field(ge=10, le=7200, description="seconds until a deployment must be ready")] = 600


class Project(_Settings):
    """The whole file. `images` names, for each platform image, the values paths that its digest is written to."""

    chart: str = "mybinder"
    charts: str = "charts"
    images: dict[str, tuple[str, ...]] = Field(default_factory=dict)
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


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds binderops.yaml."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise UsageError(
        f"no {PROJECT_FILE} here or above",
        where=str(start),
        hint="run binderops inside a deployment repository, or name one with --directory",
    )


def load_project(root: Path) -> Project:
    """Reads binderops.yaml; each error tells file, line, key, and the nearest right key."""
    document = read_document(root / PROJECT_FILE, name=PROJECT_FILE)
    try:
        return Project.model_validate(document.values)
    except ValidationError as error:
        raise _explained(error, document) from None


def _explained(error: ValidationError, document: Document) -> ValuesError:
    first = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    hint = None
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "take it out"
    return ValuesError(
        f"{document.name}: {'.'.join(path)}: {first['msg']}", where=document.place(path), why=first["msg"], hint=hint
    )


def _known_keys(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Project
    match path:
        case ():
            model = Project
        case ("environments", _):
            model = Environment
        case ("environments", _, "target"):
            model = TargetSettings
        case ("environments", _, "target", "node"):
            model = NodeSettings
        case ("environments", _, "target", "cluster"):
            model = ClusterSettings
        case _:
            return []
    return [to_camel(name) for name in model.model_fields]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of binderops.yaml, for editors (docs/binderops.schema.json)."""
    return Project.model_json_schema(by_alias=True)
