"""Rows of `config` of the binderhub chart: what arrives in the binder's settings and in the pod of a build.

What the binder then does is seen in tests/binder (seen_elsewhere.py names the tests).
"""

from __future__ import annotations

from typing import Any

from tests.charts.keys.rows import ABSENT, AMONG, Has, Row, below

_BUILD = "Pod of a build"
_BUILDER = "spec.containers.builder"
_ARGS = f"{_BUILDER}.args"
_PAIR = {"b": "<b>"}

# Class → trait → value; the trait's own place is that of the class.
_ARRIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "BinderHub": (
        "binder",
        {
            "about_message": "<p>about",
            "badge_base_url": "https://badges.example/",
            "ban_networks": {"198.51.100.0/24": "own"},
            "banner_message": "<b>news</b>",
            "base_url": "/b/",
            "build_cleanup_interval": 7.0,
            "build_token_check_origin": False,
            "build_token_expires_seconds": 31,
            "build_token_secret": "ab" * 32,
            "concurrent_build_limit": 3,
            "cors_allow_origin": "*",
            "debug": True,
            "default_opengraph_title": "Own Binder",
            "enable_api_only_mode": True,
            "extra_footer_scripts": _PAIR,
            "extra_header_html": _PAIR,
            "extra_static_path": "/own/static",
            "extra_static_url_prefix": "/own/",
            "hub_api_token": "cd" * 32,
            "hub_url": "https://hub.example/",
            "hub_url_local": "http://inside.example/",
            "image_prefix": "r.example/own-",
            "normalized_origin": "binder.example",
            "per_repo_quota": 5,
            "per_repo_quota_higher": 50,
            "template_path": "/own/templates",
            "template_variables": {"own": "words"},
            "use_registry": False,
            "tornado_settings": {"headers": {"A": "b"}},
        },
    ),
    "KubernetesCleaner": ("cleaner", {"max_age": 3601.0}),
    "Launcher": ("launcher", {"launch_timeout": 30.0, "retries": 2, "retry_delay": 1.5}),
    "RateLimiter": ("rate", {"limit": 3, "period_seconds": 61}),
    "GitHubRepoProvider": (
        "providers.GitHubRepoProvider",
        {
            "access_token": "own-token",
            "api_base_path": "https://api.example/{hostname}",
            "client_id": "own-id",
            "client_secret": "own-secret",
            "hostname": "git.example",
        },
    ),
    "GitLabRepoProvider": (
        "providers.GitLabRepoProvider",
        {"access_token": "own-access", "hostname": "gitlab.example", "private_token": "own-private"},
    ),
    "GitRepoProvider": ("providers.GitRepoProvider", {"allowed_protocols": ["https"]}),
}

# What all providers have.
_OF_PROVIDERS: dict[str, Any] = {
    "allowed_specs": ["^a/"],
    "banned_specs": ["^b/"],
    "git_credentials": "username=u",
    "high_quota_specs": ["^h/"],
}
_SPEC_CONFIG = [{"pattern": "^s/", "config": {"quota": 7}}]


def _providers() -> list[Row]:
    rows = []
    for name in ("GitHubRepoProvider", "GitLabRepoProvider", "GitRepoProvider", "LocalRepoProvider", "RepoProvider"):
        is_base = name == "RepoProvider"
        place = f"providers.{'LocalRepoProvider' if is_base else name}"
        apart = "base" if is_base else ""
        rows += [
            Row(f"{name}.{trait}", value, "Binder", f"{place}.{trait}", apart=apart)
            for trait, value in _OF_PROVIDERS.items()
        ]
        rows.append(
            Row(f"{name}.spec_config", _SPEC_CONFIG, "Binder", f"{place}.spec_config.0.pattern", "^s/", apart=apart)
        )
    return rows


_OLD = "old names"
_ROWS = [
    *(
        Row(f"{name}.{trait}", value, "Binder", f"{place}.{trait}")
        for name, (place, traits) in _ARRIVES.items()
        for trait, value in traits.items()
    ),
    Row("BinderHub.repo_providers", {"gh": None}, "Binder", "binder.repo_providers.gh", ABSENT),
    Row("LaunchQuota.total_quota", 11, "Binder", "quota.total_quota", apart="quota"),
    Row("KubernetesLaunchQuota.total_quota", 12, "Binder", "quota.total_quota"),
    *_providers(),
    Row("BuildExecutor.appendix", "RUN own", _BUILD, _ARGS, Has("RUN own")),
    Row("BuildExecutor.repo2docker_extra_args", ["--label=o=1"], _BUILD, _ARGS, AMONG),
    Row("KubernetesBuildExecutor.appendix", "RUN own", _BUILD, _ARGS, Has("RUN own"), apart="kubernetes"),
    Row("KubernetesBuildExecutor.repo2docker_extra_args", ["--label=o=1"], _BUILD, _ARGS, AMONG, apart="kubernetes"),
    Row("KubernetesBuildExecutor.build_image", "quay.example/b:7", _BUILD, f"{_BUILDER}.image"),
    Row("KubernetesBuildExecutor.extra_envs", {"OWN": "1"}, _BUILD, f"{_BUILDER}.env.OWN.value", "1"),
    Row("KubernetesBuildExecutor.image_pull_secrets", ["own"], _BUILD, "spec.imagePullSecrets", Has({"name": "own"})),
    Row("KubernetesBuildExecutor.log_tail_lines", 7, "Binder", "build.log_tail_lines"),
    Row("KubernetesBuildExecutor.memory_request", "1G", _BUILD, f"{_BUILDER}.resources.requests.memory", str(1 << 30),
        base="no resources", apart="new name"),
    Row("KubernetesBuildExecutor.node_selector", {"n": "1"}, _BUILD, "spec.nodeSelector"),
    Row("KubernetesBuildExecutor.resources.limits", {"memory": "9Gi"}, _BUILD, f"{_BUILDER}.resources.limits"),
    Row("BinderHub.appendix", "RUN own", _BUILD, _ARGS, Has("RUN own"), apart=_OLD),
    Row("BinderHub.build_image", "quay.example/b:7", _BUILD, f"{_BUILDER}.image", apart=_OLD),
    Row("BinderHub.build_max_age", 3602.0, "Binder", "cleaner.max_age", apart=_OLD),
    Row("BinderHub.build_memory_request", "1G", _BUILD, f"{_BUILDER}.resources.requests.memory", str(1 << 30),
        base="no resources"),
    Row("BinderHub.build_node_selector", {"n": "1"}, _BUILD, "spec.nodeSelector", apart=_OLD),
    Row("BinderHub.log_tail_lines", 8, "Binder", "build.log_tail_lines", apart=_OLD),
    Row("BinderHub.pod_quota", 13, "Binder", "quota.total_quota", apart=_OLD),
]  # fmt: skip

ROWS = below("binderhub.config.", _ROWS)
