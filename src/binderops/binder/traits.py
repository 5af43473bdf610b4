"""The traits of `config.*` that this binder honours, class by class, with upstream BinderHub's names and defaults.

A trait that is not here is refused by name, by the chart's schema (scripts/charts.py writes it from this module) and at
start (`settings`); what stands in WITHOUT_EFFECT is accepted, with the reason why it changes nothing here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _with_slash(url: str) -> str:
    return url if not url or url.endswith("/") else f"{url}/"


def _base_url(path: str) -> str:
    return "/" + f"{path.strip('/')}/".lstrip("/")


def parse_bytes(value: object) -> int:
    """Bytes, as a number or as text with K, M, G or T (of 1024)."""
    if isinstance(value, int | float):
        return int(value)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)", str(value))
    if not match:
        raise ValueError(f"{value!r} is no size: a number, or one with K, M, G or T")
    return int(float(match[1]) * 1024 ** "_KMGT".replace("_", " ").index(match[2] or " "))


def _networks(value: dict[str, str]) -> dict[str, str]:
    for network in value:
        ipaddress.ip_network(network)
    return value


def _patterns(values: list[str]) -> list[str]:
    for value in values:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
    return values


def _protocols(values: list[str]) -> list[str]:
    known = ("http", "https", "git")
    for value in values:
        if value not in known:
            raise ValueError(f"{value!r} is not supported: {', '.join(known)} are (there is no key for ssh here)")
    return values


def _only_headers(value: dict[str, Any]) -> dict[str, Any]:
    others = sorted(set(value) - {"headers"})
    if others:
        raise ValueError(f"{', '.join(others)}: not supported, since this is no Tornado; headers are")
    return value


Url = Annotated[str, AfterValidator(_with_slash)]
ByteSize = Annotated[int, BeforeValidator(parse_bytes)]
Patterns = Annotated[list[str], AfterValidator(_patterns)]


class Traits(BaseModel):
    """One class of `config`. Unknown traits are kept out here, and named by `settings`."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class BinderHub(Traits):
    """The application's own traits."""

    base_url: Annotated[str, AfterValidator(_base_url)] = "/"
    debug: bool = False
    hub_url: Url = ""
    hub_url_local: Url = ""
    hub_api_token: str = Field(default="", repr=False)
    cors_allow_origin: str = ""
    badge_base_url: Url = ""
    normalized_origin: str = ""
    enable_api_only_mode: bool = False
    image_prefix: str = ""
    use_registry: bool = True
    """False: images stay in the release's own registry, whatever `registry.url` and `image_prefix` say."""
    concurrent_build_limit: int = Field(default=32, ge=1)
    per_repo_quota: int = 0
    per_repo_quota_higher: int = 0
    pod_quota: int | None = None
    repo_providers: dict[str, str] = {"gh": "GitHubRepoProvider", "git": "GitRepoProvider"}
    ban_networks: Annotated[dict[str, str], AfterValidator(_networks)] = {}
    build_token_secret: str = Field(default="", repr=False)
    build_token_expires_seconds: int = 300
    build_token_check_origin: bool = True
    build_cleanup_interval: float = 60
    build_max_age: float | None = None
    about_message: str = ""
    banner_message: str = ""
    default_opengraph_title: str = "The Binder Project"
    extra_header_html: dict[str, str] = {}
    extra_footer_scripts: dict[str, str] = {}
    template_path: str = ""
    template_variables: dict[str, Any] = {}
    extra_static_path: str = ""
    extra_static_url_prefix: str = "/extra_static/"
    tornado_settings: Annotated[dict[str, Any], AfterValidator(_only_headers)] = {}
    appendix: str = ""
    build_image: str = ""
    log_tail_lines: int | None = None


class BuildExecutor(Traits):
    """What repo2docker is told."""

    appendix: str = ""
    repo2docker_extra_args: list[str] = []


class KubernetesBuildExecutor(BuildExecutor):
    """What a build pod is given, besides what repo2docker is told."""

    build_image: str = ""
    extra_envs: dict[str, str] = {}
    image_pull_secrets: list[str | dict[str, str]] = []
    log_tail_lines: int = Field(default=100, ge=0)
    memory_request: ByteSize = 0
    namespace: str = ""
    node_selector: dict[str, str] = {}
    resources: dict[str, Any] = {}


class KubernetesCleaner(Traits):
    """After how many seconds a build pod is removed."""

    max_age: float = 14400


class Launcher(Traits):
    """How a server is asked for, in attempts and seconds."""

    retries: int = Field(default=4, ge=1)
    retry_delay: float = 4
    launch_timeout: float = 600


class LaunchQuota(Traits):
    """How many servers may run; None: no limit; 0: none may."""

    total_quota: int | None = None


class KubernetesLaunchQuota(LaunchQuota):
    """The same, counted in pods."""


class RateLimiter(Traits):
    """Launch requests of one address in one period; 0: no limit."""

    limit: int = 10
    period_seconds: int = 3600


class SpecConfig(Traits):
    """What holds for repositories whose spec matches a pattern."""

    pattern: Annotated[str, AfterValidator(lambda value: _patterns([value])[0])]
    config: dict[str, Any]


class RepoProvider(Traits):
    """What every provider has."""

    allowed_specs: Patterns = []
    banned_specs: Patterns = []
    high_quota_specs: Patterns = []
    spec_config: list[SpecConfig] = []
    git_credentials: str = Field(default="", repr=False)


class GitHubRepoProvider(RepoProvider):
    """GitHub, or an enterprise's own."""

    hostname: str = "github.com"
    api_base_path: str = "https://api.{hostname}"
    client_id: str = ""
    client_secret: str = Field(default="", repr=False)
    access_token: str = Field(default="", repr=False)


class GitLabRepoProvider(RepoProvider):
    """gitlab.com, or an instance of one's own."""

    hostname: str = "gitlab.com"
    access_token: str = Field(default="", repr=False)
    private_token: str = Field(default="", repr=False)


class GitRepoProvider(RepoProvider):
    """Any repository that git itself can reach."""

    allowed_protocols: Annotated[list[str], AfterValidator(_protocols)] = ["http", "https", "git"]


class LocalRepoProvider(RepoProvider):
    """Folders that the operator uploaded."""


PROVIDERS: dict[str, type[RepoProvider]] = {
    "GitHubRepoProvider": GitHubRepoProvider,
    "GitLabRepoProvider": GitLabRepoProvider,
    "GitRepoProvider": GitRepoProvider,
    "LocalRepoProvider": LocalRepoProvider,
}

# Of the binder's environment, where neither values nor extraConfig say else: variable → (class, trait).
FROM_ENVIRONMENT: dict[str, tuple[str, str]] = {
    "GITHUB_ACCESS_TOKEN": ("GitHubRepoProvider", "access_token"),
    "GITHUB_CLIENT_ID": ("GitHubRepoProvider", "client_id"),
    "GITHUB_CLIENT_SECRET": ("GitHubRepoProvider", "client_secret"),
    "GITLAB_ACCESS_TOKEN": ("GitLabRepoProvider", "access_token"),
    "GITLAB_PRIVATE_TOKEN": ("GitLabRepoProvider", "private_token"),
}
# Upstream's variables of what is not here.
UNREAD_VARIABLES: dict[str, str] = {
    "BINDERHUB_CONTAINER_REGISTRY_HELPER_AUTH_TOKEN": "there is no registry helper: use registry.url",
}

CLASSES: dict[str, type[Traits]] = {
    "BinderHub": BinderHub,
    "BuildExecutor": BuildExecutor,
    "KubernetesBuildExecutor": KubernetesBuildExecutor,
    "KubernetesCleaner": KubernetesCleaner,
    "Launcher": Launcher,
    "LaunchQuota": LaunchQuota,
    "KubernetesLaunchQuota": KubernetesLaunchQuota,
    "RateLimiter": RateLimiter,
    "RepoProvider": RepoProvider,
    **PROVIDERS,
}

# Upstream's deprecated names: (class, trait) → where the value belongs now.
ALIASES: dict[tuple[str, str], tuple[str, str]] = {
    ("BinderHub", "pod_quota"): ("LaunchQuota", "total_quota"),
    ("BinderHub", "build_max_age"): ("KubernetesCleaner", "max_age"),
    ("BinderHub", "appendix"): ("BuildExecutor", "appendix"),
    ("BinderHub", "build_image"): ("KubernetesBuildExecutor", "build_image"),
    ("BinderHub", "log_tail_lines"): ("KubernetesBuildExecutor", "log_tail_lines"),
    ("BinderHub", "build_node_selector"): ("KubernetesBuildExecutor", "node_selector"),
    ("BinderHub", "build_namespace"): ("KubernetesBuildExecutor", "namespace"),
    ("BinderHub", "build_memory_request"): ("KubernetesBuildExecutor", "memory_request"),
}

_NO_ENGINE = "every build has a pod of its own, and no engine's socket"
_NO_LIMIT = "without effect upstream too; use KubernetesBuildExecutor.resources"
_OWN_CREDENTIAL = "a build pod gets a credential of its own, never the registry's password"
WITHOUT_EFFECT: dict[tuple[str, str], str] = {
    ("BinderHub", "sticky_builds"): "no cache lies on a node",
    ("KubernetesBuildExecutor", "sticky_builds"): "no cache lies on a node",
    ("BinderHub", "build_docker_host"): _NO_ENGINE,
    ("KubernetesBuildExecutor", "docker_host"): _NO_ENGINE,
    ("BinderHub", "push_secret"): _OWN_CREDENTIAL,
    ("BinderHub", "build_memory_limit"): _NO_LIMIT,
    **{
        (name, trait): reason
        for name in ("BuildExecutor", "KubernetesBuildExecutor")
        for trait, reason in {
            "memory_limit": _NO_LIMIT,
            "push_secret": _OWN_CREDENTIAL,
            "registry_credentials": _OWN_CREDENTIAL,
        }.items()
    },
    (
        "BinderHub",
        "executor_threads",
    ): "waiting for Kubernetes takes no threads; builds are limited by concurrent_build_limit",
    ("RateLimiter", "clean_seconds"): "windows are forgotten as they end",
}

# What would be another service than the one asked for, if it were ignored: (class, trait) → the one value allowed.
REFUSED: dict[tuple[str, str], tuple[object, str]] = {
    ("BinderHub", "auth_enabled"): (False, "logging in is not supported yet: everybody could launch"),
}

# What may only say again what the release itself says: (class, trait) → why.
_BESIDE = "builds run in the release's namespace, where their Role, NetworkPolicies and ConfigMap are"
RELEASE_NAMESPACE: dict[tuple[str, str], str] = {
    ("KubernetesBuildExecutor", "namespace"): _BESIDE,
    ("BinderHub", "build_namespace"): _BESIDE,
}


def known_traits() -> dict[str, frozenset[str]]:
    """The traits of each class that a values file may name: honoured, of an old name, without effect, or refused."""
    known = {name: set(model.model_fields) for name, model in CLASSES.items()}
    for name, trait in [*ALIASES, *WITHOUT_EFFECT, *REFUSED]:
        known.setdefault(name, set()).add(trait)
    return {name: frozenset(found) for name, found in known.items()}
