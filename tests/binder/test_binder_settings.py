from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from binderops.binder.settings import Place, from_values, load
from binderops.errors import ValuesError

IMAGES = {"build": {"name": "b", "tag": "1"}, "notebook": {"name": "n", "tag": "1"}}


def settings(values: dict[str, Any] | None = None) -> Any:
    return from_values(values or {}, Place("ns", "ns", "rel"))


def test_defaults_are_upstreams() -> None:
    found = settings()
    assert found.binder.base_url == "/"
    assert found.binder.concurrent_build_limit == 32
    assert found.launcher.model_dump() == {"retries": 4, "retry_delay": 4, "launch_timeout": 600}
    assert found.cleaner.max_age == 14400
    assert (found.rate.limit, found.rate.period_seconds) == (10, 3600)
    assert found.build.log_tail_lines == 100
    assert found.quota.total_quota is None
    assert found.findings == ()


def test_names_follow_from_the_domain() -> None:
    found = settings({"global": {"domain": "binder.localhost", "publicPort": 8080}})
    assert found.hub_url == "http://hub.binder.localhost:8080/"
    assert found.hub_api_url == "http://proxy-public/hub/api/"
    assert found.image_registry == "registry.ns.svc:5000"
    tls = settings({"global": {"domain": "b.example.org", "publicTlsPort": 443}})
    assert tls.hub_url == "https://hub.b.example.org/"
    own = settings({"config": {"BinderHub": {"hub_url": "https://h.example/x", "hub_url_local": "http://hub:8081/x"}}})
    assert (own.hub_url, own.hub_api_url) == ("https://h.example/x/", "http://hub:8081/x/hub/api/")


def test_badges_come_from_their_own_host_where_there_is_one(tmp_path: Path) -> None:
    place = Place(root=tmp_path)
    assert from_values({}, place).badge_base_url == ""
    (tmp_path / "badges").mkdir()
    (tmp_path / "badges" / "url").write_text("http://static.binder.localhost:8080/\n")
    assert from_values({}, place).badge_base_url == "http://static.binder.localhost:8080/"
    own = from_values({"config": {"BinderHub": {"badge_base_url": "https://mybinder.example/"}}}, place)
    assert own.badge_base_url == "https://mybinder.example/"


def test_the_prefix_holds_the_builders_version() -> None:
    one = settings({"global": {"images": IMAGES}}).image_prefix
    other = settings({"global": {"images": {**IMAGES, "notebook": {"name": "n", "tag": "2"}}}}).image_prefix
    assert one.startswith("registry.ns.svc:5000/r2d-")
    assert one != other
    assert settings({"global": {"images": IMAGES}}).image_prefix == one
    own = settings({"config": {"BinderHub": {"image_prefix": "gcr.io/p/r2d-"}}})
    assert (own.image_prefix, own.image_registry) == ("gcr.io/p/r2d-", "gcr.io")


def test_an_operators_registry_is_used_unless_told_not_to() -> None:
    own: dict[str, Any] = {"registry": {"url": "https://r.example"}, "global": {"images": IMAGES}}
    found = settings(own)
    assert (found.image_registry, found.image_prefix[:14]) == ("r.example", "r.example/r2d-")
    assert found.base_image == f"{found.image_prefix}base:1"
    for prefix in ("", "r.example/x-", "x-"):
        other = settings({**own, "config": {"BinderHub": {"use_registry": False, "image_prefix": prefix}}})
        assert (other.image_registry, other.build_registry, other.base_image) == (*[found.build_registry] * 2, "")


def test_variables_of_upstreams_that_are_not_read_are_named() -> None:
    environment = {"BINDERHUB_CONTAINER_REGISTRY_HELPER_AUTH_TOKEN": "secret", "GITHUB_CLIENT_ID": "me", "PATH": "/bin"}
    (finding,) = from_values({}, Place.from_environment(environment, Path("/x"))).findings
    assert finding.startswith("the variable BINDERHUB_CONTAINER_REGISTRY_HELPER_AUTH_TOKEN is not read")
    assert "secret" not in repr(Place.from_environment(environment, Path("/x")))


def test_nothing_is_ignored_in_silence() -> None:
    found = settings(
        {
            "config": {
                "BinderHub": {"pod_quota": 5, "sticky_builds": True},
                "BuildExecutor": {"memory_limit": "1G"},
            }
        }
    )
    assert found.quota.total_quota == 5
    text = "\n".join(found.findings)
    assert "config.BinderHub.pod_quota is deprecated: use config.LaunchQuota.total_quota" in text
    assert "config.BinderHub.sticky_builds has no effect here: no cache lies on a node" in text
    assert "config.BuildExecutor.memory_limit has no effect here" in text


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"config": {"BinderHub": {"nosuch": 1}}}, "config.BinderHub.nosuch"),
        ({"config": {"ZenodoProvider": {"allowed_specs": []}}}, "config.ZenodoProvider.allowed_specs"),
        ({"extraConfig": {"a": "c.BinderHub.nosuch = 1"}}, "config.BinderHub.nosuch"),
        ({"extraConfig": {"a": "c.MyHook.key = 1"}}, "config.MyHook.key"),
        ({"config": {"BinderHub": {"repo_providers": {"zenodo": "ZenodoProvider"}}}}, "repo_providers.zenodo"),
    ],
)
def test_what_is_not_known_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValuesError, match=re.escape(named)):
        settings(values)


def test_internal_hosts() -> None:
    entries = [{"host": "git.internal", "cidr": "10.1.2.0/24", "ports": [443]}, {"cidr": "10.9.9.9/32"}]
    found = settings({"networkPolicy": {"egress": {"internalHosts": entries}}})
    assert [(entry.host, str(entry.network)) for entry in found.internal_hosts] == [("git.internal", "10.1.2.0/24")]


def test_extra_config_runs_by_sorted_key() -> None:
    found = settings(
        {
            "config": {"BinderHub": {"about_message": "one"}},
            "answer": {"of": 42},
            "extraConfig": {
                "20-second": "c.BinderHub.about_message += f' three {get_value(\"answer.of\")}'",
                "10-first": "c.BinderHub.about_message += ' two'\nc.LaunchQuota.total_quota = 7",
                "30-removed": None,
            },
        }
    )
    assert found.binder.about_message == "one two three 42"
    assert found.quota.total_quota == 7
    with pytest.raises(ValuesError, match=r"extraConfig\.bad"):
        settings({"extraConfig": {"bad": "1/0"}})


@pytest.mark.parametrize(
    "config",
    [
        {"BinderHub": {"ban_networks": {"300.0.0.0/8": "x"}}},
        {"GitHubRepoProvider": {"banned_specs": ["("]}},
        {"GitHubRepoProvider": {"spec_config": [{"pattern": 1, "config": {}}]}},
        {"KubernetesBuildExecutor": {"memory_request": "1X"}},
        {"BinderHub": {"concurrent_build_limit": 0}},
        {"BinderHub": {"tornado_settings": {"xsrf_cookies": True}}},
        {"GitRepoProvider": {"allowed_protocols": ["https", "ssh"]}},
    ],
)
def test_wrong_values_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValuesError, match="wrong value"):
        settings({"config": config})


def test_what_would_be_another_service_is_refused() -> None:
    with pytest.raises(ValuesError, match="auth_enabled cannot be True"):
        settings({"config": {"BinderHub": {"auth_enabled": True}}})
    assert settings({"config": {"BinderHub": {"auth_enabled": False, "use_registry": True}}}).findings == ()


def test_traits_of_the_base_class_hold_for_all_providers() -> None:
    found = settings({"config": {"RepoProvider": {"banned_specs": ["a"]}, "GitRepoProvider": {"banned_specs": ["b"]}}})
    assert found.providers["GitHubRepoProvider"].banned_specs == ["a"]
    assert found.providers["GitRepoProvider"].banned_specs == ["b"]


def test_traits_are_inherited_as_traitlets_does() -> None:
    """KubernetesBuildExecutor is a BuildExecutor, KubernetesLaunchQuota a LaunchQuota."""
    found = settings({"config": {"BuildExecutor": {"appendix": "RUN a"}, "LaunchQuota": {"total_quota": 1}}})
    assert (found.build.appendix, found.quota.total_quota) == ("RUN a", 1)
    own = {"KubernetesBuildExecutor": {"appendix": "RUN b"}, "KubernetesLaunchQuota": {"total_quota": 2}}
    found = settings({"config": {"BuildExecutor": {"appendix": "RUN a"}, "LaunchQuota": {"total_quota": 1}, **own}})
    assert (found.build.appendix, found.quota.total_quota) == ("RUN b", 2)
    found = settings({"config": {"KubernetesBuildExecutor": {"repo2docker_extra_args": ["--debug"]}}})
    assert found.build.repo2docker_extra_args == ["--debug"]


@pytest.mark.parametrize("key", ["KubernetesBuildExecutor.namespace", "BinderHub.build_namespace"])
def test_builds_run_in_the_releases_namespace(key: str) -> None:
    place = Place("binder", "binder")
    assert from_values({"extraConfig": {"a": f"c.{key} = 'binder'"}}, place).place.build_namespace == "binder"
    with pytest.raises(
        ValuesError, match=r"config\.KubernetesBuildExecutor\.namespace cannot be 'elsewhere'"
    ) as refused:
        from_values({"extraConfig": {"a": f"c.{key} = 'elsewhere'"}}, place)
    assert "NetworkPolicies" in str(refused.value.why)


def test_code_does_not_move_the_binder() -> None:
    """The chart's probes and the tool's proofs would not find it."""
    values = {"config": {"BinderHub": {"base_url": "/b"}}}
    assert settings({**values, "extraConfig": {"a": "c.BinderHub.base_url = '/b/'"}}).binder.base_url == "/b/"
    with pytest.raises(ValuesError, match=r"extraConfig changes config\.BinderHub\.base_url"):
        settings({**values, "extraConfig": {"a": "c.BinderHub.base_url = '/c/'"}})


def test_loading(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "values.yaml").write_text(yaml.safe_dump({"config": {"BinderHub": {"base_url": "/x"}}}))
    environment = {"POD_NAMESPACE": "one", "HELM_RELEASE_NAME": "rel", "JUPYTERHUB_API_TOKEN": "canary"}
    found = load(tmp_path / "config", environment)
    assert found.binder.base_url == "/x/"
    assert found.place.build_namespace == "one"
    assert found.secret("registry-token") == tmp_path / "registry-token"
    assert "canary" not in repr(found)
    with pytest.raises(ValuesError, match="cannot be read"):
        load(tmp_path / "nowhere", {})
