"""The binder's settings: the values file of the release, the operator's extra code, and what the pod is told.

Nothing is ignored in silence: what is not known is refused by name, what has no effect here is returned as findings,
which the program logs at start.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError
from traitlets.config import Config

from binderops.binder import traits
from binderops.binder.naming import image_name
from binderops.binder.values import Egress, Global, RegistrySettings, TrustedProxies
from binderops.errors import RegistryError, ValuesError
from binderops.git.hosts import InternalHost
from binderops.oci.references import DOCKER_HUB, Reference, registry_of_url

T = TypeVar("T", bound=traits.Traits)


@dataclass(frozen=True)
class Place:
    """Where this binder runs: what its pod is told by the environment, and the folders that are mounted."""

    namespace: str = "default"
    build_namespace: str = "default"
    release: str = "binder"
    hub_api_token: str = field(default="", repr=False)
    hub_api_url: str = ""
    build_token_secret: str = field(default="", repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the environment: what upstream reads as the default of a trait (`traits.FROM_ENVIRONMENT`)."""
    root: Path = Path("/etc/binderhub")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], root: Path) -> Place:
        """Read the variables that the chart sets."""
        namespace = environment.get("POD_NAMESPACE", "default")
        return cls(
            namespace=namespace,
            build_namespace=environment.get("BUILD_NAMESPACE", namespace),
            release=environment.get("HELM_RELEASE_NAME", "binder"),
            hub_api_token=environment.get("JUPYTERHUB_API_TOKEN", ""),
            hub_api_url=environment.get("JUPYTERHUB_API_URL", ""),
            build_token_secret=environment.get("BINDERHUB_BUILD_TOKEN_SECRET", ""),
            variables={
                name: environment[name]
                for name in (*traits.FROM_ENVIRONMENT, *traits.UNREAD_VARIABLES)
                if environment.get(name)
            },
            root=root,
        )


@dataclass(frozen=True)
class Settings:
    """Everything that the binder is told. `findings` says what of it has no effect, and why."""

    place: Place
    common: Global
    registry: RegistrySettings
    binder: traits.BinderHub
    build: traits.KubernetesBuildExecutor
    cleaner: traits.KubernetesCleaner
    launcher: traits.Launcher
    quota: traits.LaunchQuota
    rate: traits.RateLimiter
    providers: Mapping[str, traits.RepoProvider]
    trusted_proxies: TrustedProxies
    internal_hosts: tuple[InternalHost, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def build_registry(self) -> str:
        """The release's own registry, which builds push to: host and port."""
        return self.registry.name or f"registry.{self.place.namespace}.svc:5000"

    @property
    def image_registry(self) -> str:
        """The registry that images are kept in: the one that `image_prefix` names, the operator's, or the release's."""
        return Reference.parse(image_name(self.image_prefix, "x", identity="x", ref="x")).registry

    @property
    def build_image(self) -> str:
        """The image that build pods run."""
        return self.build.build_image or self.common.images.build.reference

    @property
    def image_prefix(self) -> str:
        """What names of built images begin with. Without one that is set: the builder's version is part of it.

        The version is that of the two images that decide what a build gives, so that a new one builds anew.
        """
        given, uses_own = self.binder.image_prefix, self.binder.use_registry
        if given and uses_own:
            return given
        parts = f"{self.build_image}\n{self.common.images.notebook.reference}"
        own = registry_of_url(self.registry.url) if self.registry.url and uses_own else self.build_registry
        return f"{own}/r2d-{hashlib.sha256(parts.encode()).hexdigest()[:8]}-"

    @property
    def base_repository(self) -> str:
        """The repository of the notebook base in the registry, "" where no base is set."""
        name = self.common.images.notebook.reference
        return Reference.parse(name).repository if name else ""

    @property
    def base_image(self) -> str:
        """The notebook base's name where images are kept in a registry of the operator's, "" where they are not."""
        tag = self.common.images.notebook.tag.removeprefix("sha256:")[:12]
        if self.image_registry == self.build_registry or not tag:
            return ""
        return f"{self.image_prefix.replace('_', '-')}base".lower() + f":{tag}"

    @property
    def badge_base_url(self) -> str:
        """Where badges are served: what `badge_base_url` names, else the host for them where there is one, else "".

        The ConfigMap that tells that host is mounted, and may come and go while the binder runs.
        """
        if self.binder.badge_base_url:
            return self.binder.badge_base_url
        try:
            return (self.place.root / "badges" / "url").read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    @property
    def hub_url(self) -> str:
        """The hub as browsers see it."""
        return self.binder.hub_url or self.common.url_of(f"hub.{self.common.domain}")

    @property
    def hub_api_url(self) -> str:
        """The hub's REST API as the binder sees it."""
        if self.place.hub_api_url:
            return self.place.hub_api_url.rstrip("/") + "/"
        path = urlsplit(self.hub_url).path
        return (self.binder.hub_url_local or f"http://proxy-public{path}") + "hub/api/"

    def secret(self, name: str) -> Path:
        """A mounted Secret's folder."""
        return self.place.root / name


def load(config_dir: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read `values.yaml` and run extraConfig; raises ValuesError for what cannot be meant."""
    file = config_dir / "values.yaml"
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValuesError("the binder's values cannot be read", where=str(file), why=str(error)) from error
    place = Place.from_environment(os.environ if environment is None else environment, config_dir.parent)
    return from_values(values, place)


def from_values(values: Mapping[str, Any], place: Place) -> Settings:
    """The settings that a release's values make."""
    config = Config(values.get("config") or {})
    _run_extra_config(values, config)
    sections = {name: dict(section) for name, section in config.items() if isinstance(section, Mapping)}
    _refuse(sections)
    findings = [*_move_aliases(sections), *_without_effect(sections), *_unread(place.variables)]
    _refuse_unknown(sections)
    try:
        common = Global.model_validate(values.get("global") or {})
        registry = RegistrySettings.model_validate(values.get("registry") or {})
        egress = Egress.model_validate((values.get("networkPolicy") or {}).get("egress") or {})
        proxies = TrustedProxies.model_validate(values.get("trustedProxies") or {})
        models = {name: model.model_validate(sections.get(name, {})) for name, model in traits.CLASSES.items()}
        _add_variables(sections, place.variables)
        providers = {name: _inheriting(kind, "RepoProvider", sections) for name, kind in traits.PROVIDERS.items()}
        build = _inheriting(traits.KubernetesBuildExecutor, "BuildExecutor", sections)
        quota = _inheriting(traits.KubernetesLaunchQuota, "LaunchQuota", sections)
    except ValidationError as error:
        raise ValuesError(
            "a setting of the binder has a wrong value", where=f"config.{error.title}", why=str(error)
        ) from error
    settings = Settings(
        place=place,
        common=common,
        registry=registry,
        binder=_as(models["BinderHub"], traits.BinderHub),
        build=build,
        cleaner=_as(models["KubernetesCleaner"], traits.KubernetesCleaner),
        launcher=_as(models["Launcher"], traits.Launcher),
        quota=quota,
        rate=_as(models["RateLimiter"], traits.RateLimiter),
        providers=providers,
        trusted_proxies=proxies,
        internal_hosts=tuple(InternalHost(entry.host, entry.cidr) for entry in egress.internal_hosts if entry.host),
        findings=tuple(findings),
    )
    _check_image_names(settings)
    _check_what_the_chart_knows(settings, values)
    return settings


def _check_what_the_chart_knows(settings: Settings, values: Mapping[str, Any]) -> None:
    """Objects of the release follow from these, so that extraConfig alone cannot change them."""
    builds, here = "KubernetesBuildExecutor", settings.place.namespace
    if settings.build.namespace not in {"", here}:
        where = f"config.{builds}.namespace"
        why = traits.RELEASE_NAMESPACE[builds, "namespace"]
        raise ValuesError(f"{where} cannot be {settings.build.namespace!r}", where=where, why=why, hint="leave it out")
    told = (values.get("config") or {}).get("BinderHub") or {}
    if traits.BinderHub.model_validate({"base_url": told.get("base_url") or "/"}).base_url != settings.binder.base_url:
        raise ValuesError(
            "extraConfig changes config.BinderHub.base_url",
            where="extraConfig",
            why="probes, addresses and proofs follow from the values",
            hint="set config.BinderHub.base_url in the values instead",
        )


def _check_image_names(settings: Settings) -> None:
    where = "config.BinderHub.image_prefix"
    try:
        found = Reference.parse(image_name(settings.image_prefix, "x", identity="x", ref="x"))
    except RegistryError as error:
        raise ValuesError("names of images cannot begin so", where=where, why=error.why) from error
    if found.registry == DOCKER_HUB and "/" not in settings.binder.image_prefix:
        hint = "set it to ORGANISATION/binder-, the organisation being one that registry.username may push to"
        raise ValuesError("Docker Hub keeps images below an organisation", where=where, hint=hint)


def _as(model: traits.Traits, kind: type[T]) -> T:
    assert isinstance(model, kind)
    return model


def _inheriting(kind: type[T], base: str, sections: Mapping[str, Mapping[str, Any]]) -> T:
    """As with traitlets, what is set on the base class holds for all that inherit from it, unless theirs says else."""
    return kind.model_validate({**sections.get(base, {}), **sections.get(kind.__name__, {})})


def _run_extra_config(values: Mapping[str, Any], config: Config) -> None:
    for key, code in sorted((values.get("extraConfig") or {}).items()):
        if not code:
            continue
        where = f"extraConfig.{key}"
        try:
            # The operator's own code, from the operator's own values: that is what this key is for.
            exec(compile(code, where, "exec"), {"c": config, "get_value": _reader(values)})  # noqa: S102
        except Exception as error:
            raise ValuesError(
                f"the code in {where} failed", where=where, why=f"{type(error).__name__}: {error}"
            ) from error


def _reader(values: Mapping[str, Any]) -> Callable[..., Any]:
    def get_value(key: str, default: Any = None) -> Any:
        found: Any = values
        for part in key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return default
            found = found[part]
        return found

    return get_value


def _move_aliases(sections: dict[str, dict[str, Any]]) -> list[str]:
    moved = []
    for (old_class, old), (new_class, new) in traits.ALIASES.items():
        if old in sections.get(old_class, {}):
            value = sections[old_class].pop(old)
            if value is not None:
                sections.setdefault(new_class, {}).setdefault(new, value)
                moved.append(f"config.{old_class}.{old} is deprecated: use config.{new_class}.{new}")
    return moved


def _refuse(sections: Mapping[str, Mapping[str, Any]]) -> None:
    for (name, trait), (allowed, reason) in traits.REFUSED.items():
        value = sections.get(name, {}).get(trait, allowed)
        if value != allowed:
            raise ValuesError(f"config.{name}.{trait} cannot be {value!r}", where=f"config.{name}.{trait}", why=reason)


def _without_effect(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"config.{name}.{trait} has no effect here: {reason}"
        for (name, trait), reason in sorted(traits.WITHOUT_EFFECT.items())
        if trait in sections.get(name, {})
    ]


def _unread(variables: Mapping[str, str]) -> list[str]:
    unread = traits.UNREAD_VARIABLES
    return [f"the variable {name} is not read: {unread[name]}" for name in sorted(variables) if name in unread]


def _add_variables(sections: dict[str, dict[str, Any]], variables: Mapping[str, str]) -> None:
    for name, (kind, trait) in traits.FROM_ENVIRONMENT.items():
        if name in variables:
            sections.setdefault(kind, {}).setdefault(trait, variables[name])


def _refuse_unknown(sections: Mapping[str, Mapping[str, Any]]) -> None:
    unknown = [
        f"config.{name}.{trait}"
        for name, section in sorted(sections.items())
        for trait in sorted(section)
        if trait not in traits.known_traits().get(name, ())
    ]
    if unknown:
        raise ValuesError(
            f"the binder has no such setting: {', '.join(unknown)}",
            where=unknown[0],
            hint="take it out of the values and of extraConfig; docs/operate/values-keys.md lists what there is",
        )
    wanted = sections.get("BinderHub", {}).get("repo_providers") or {}
    for prefix, name in wanted.items():
        if name is not None and str(name).rpartition(".")[2] not in traits.PROVIDERS:
            raise ValuesError(
                f"config.BinderHub.repo_providers.{prefix}: {name} is not supported yet",
                where=f"config.BinderHub.repo_providers.{prefix}",
                hint=f"set it to null; there are {', '.join(traits.PROVIDERS)}",
            )
