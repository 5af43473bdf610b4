"""jupyterhub_config.py, loaded as JupyterHub loads it, and the pod that a real KubeSpawner makes of it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub import scopes
from jupyterhub.app import JupyterHub
from jupyterhub_idle_culler import IdleCuller  # type: ignore[import-untyped]
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner

from binderops.hub import TEMPLATES
from binderops.hub.binderspawner_mixin import BinderSpawnerMixin
from binderops.hub.scope_caches import ENTRIES
from binderops.hub.spawn_hook import wait_until_served
from binderops.kube.schemas import validate

DISK = {"ephemeral-storage": "10Gi"}
LAUNCH = {"image": "registry.binder.svc:5000/r2d-x:1", "token": "secret-of-this-launch", "repo_url": "https://x/y"}


async def manifest_of(spawner: Any) -> dict[str, Any]:
    spawner.image = LAUNCH["image"]
    pod = await spawner.get_pod_manifest()
    manifest: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return manifest


def test_the_hub_accepts_every_trait(load_config: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Traitlets warns of a trait that no class has: a misspelt one would have no effect."""
    config = load_config()
    hub = JupyterHub(config=config)
    assert "not recognized" not in caplog.text
    assert hub.hub_connect_url == "http://hub:8081"
    assert hub.hub_bind_url == "http://:8081"
    assert hub.db_url == "sqlite:///jupyterhub.sqlite"
    assert hub.tornado_settings == {"slow_spawn_timeout": 0}
    assert hub.cleanup_servers is False
    assert hub.concurrent_spawn_limit == 64
    assert len(hub.cookie_secret) == 32
    known = set(KubeSpawner.class_trait_names()) | set(BinderSpawnerMixin.class_trait_names())
    assert set(config.KubeSpawner) <= known
    assert config.ConfigurableHTTPProxy.api_url == "http://proxy-api:8001"
    assert config.ConfigurableHTTPProxy.should_start is False


def test_what_the_hub_remembers_of_users_is_bounded(load_config: Any) -> None:
    cache = inspect.getclosurevars(scopes.expand_scopes).nonlocals["cache"]
    cache.maxsize = 1024  # as upstream has it: another test may have loaded the configuration before
    load_config()
    assert cache.maxsize == ENTRIES


def test_launches_are_anonymous_and_by_the_binder(load_config: Any) -> None:
    config = load_config()
    assert config.JupyterHub.authenticator_class == "null"
    assert issubclass(config.JupyterHub.spawner_class, BinderSpawnerMixin)
    assert issubclass(config.JupyterHub.spawner_class, KubeSpawner)
    (binder,) = (service for service in config.JupyterHub.services if service["name"] == "binder")
    assert len(binder["api_token"]) == 64
    assert binder["display"] is False
    (role,) = (role for role in config.JupyterHub.load_roles if role["name"] == "binder")
    assert role == {"name": "binder", "services": ["binder"], "scopes": ["servers", "admin:users"]}


def test_idle_servers_and_their_users_go(load_config: Any) -> None:
    config = load_config({"cull": {"timeout": 61, "every": 7, "concurrency": 3, "maxAge": 9, "adminUsers": False}})
    (culler,) = (service for service in config.JupyterHub.services if service["name"] == "jupyterhub-idle-culler")
    assert culler["command"][1:] == [
        "-m",
        "jupyterhub_idle_culler",
        "--url=http://localhost:8081/hub/api",
        "--timeout=61",
        "--cull-every=7",
        "--concurrency=3",
        "--max-age=9",
        "--cull-users=true",
        "--cull-admin-users=false",
    ]
    program = IdleCuller()
    program.parse_command_line(culler["command"][3:])
    assert (program.timeout, program.cull_users, program.cull_admin_users) == (61, True, False)
    (role,) = (role for role in config.JupyterHub.load_roles if role["name"] == "jupyterhub-idle-culler")
    assert "admin:users" in role["scopes"]
    off = load_config({"cull": {"enabled": False}})
    assert [service["name"] for service in off.JupyterHub.services] == ["binder"]


async def test_the_pod_of_a_launch(load_config: Any, make_spawner: Any) -> None:
    spawner = make_spawner(load_config(), LAUNCH)
    pod = await manifest_of(spawner)
    assert validate({"apiVersion": "v1", "kind": "Pod", **pod}) == []
    assert pod["metadata"]["name"] == "jupyter-binder-examples-hello-abc12345"
    labels = pod["metadata"]["labels"]
    expected = {
        "app": "jupyterhub",
        "component": "singleuser-server",
        "release": "binder",
        "app.kubernetes.io/name": "jupyterhub",
        "app.kubernetes.io/component": "singleuser-server",
        "app.kubernetes.io/instance": "binder",
        "app.kubernetes.io/managed-by": "kubespawner",
        "hub.jupyter.org/username": "binder-examples-hello-abc12345",
    }
    assert expected.items() <= labels.items()
    # A visitor's server has nothing to ask of the hub (mybinder/values.yaml takes upstream's label off).
    assert "hub.jupyter.org/network-access-hub" not in labels
    spec = pod["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["imagePullSecrets"] == [{"name": "registry-pull"}]
    assert spec["securityContext"]["fsGroup"] == 100
    assert "initContainers" not in spec or spec["initContainers"] == []
    assert not spec.get("volumes")
    (container,) = spec["containers"]
    assert container["name"] == "notebook"
    assert container["image"] == LAUNCH["image"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"] == [{"containerPort": 8888, "name": "notebook-port"}]
    assert "command" not in container
    assert container["args"][:2] == ["sh", "-c"]
    assert container["args"][3:6] == ["jupyter-lab", "--ip=0.0.0.0", "--port=8888"]
    assert "secret-of-this-launch" not in str(container["args"])
    assert {"name": "JUPYTER_TOKEN", "value": "secret-of-this-launch"} in container["env"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "runAsUser": 1000}
    assert container["resources"]["limits"] == {"cpu": 2.0, "memory": 2 * 1024**3, **DISK}
    assert container["resources"]["requests"] == {"cpu": 0.05, "memory": 256 * 1024**2, "ephemeral-storage": "256Mi"}
    assert "readinessProbe" not in container
    tolerations = {(entry["key"], entry["value"]) for entry in spec["tolerations"]}
    assert ("hub.jupyter.org/dedicated", "user") in tolerations


async def test_the_start_hook_is_set(load_config: Any, make_spawner: Any) -> None:
    assert make_spawner(load_config(), LAUNCH).after_pod_created_hook is wait_until_served


@pytest.mark.parametrize(
    ("values", "trait", "expected"),
    [
        ({"startTimeout": 77}, "start_timeout", 77),
        ({"podNameTemplate": "x-{username}"}, "pod_name_template", "x-{username}"),
        ({"events": False}, "events_enabled", False),
        ({"defaultUrl": "/lab"}, "default_url", "/lab"),
        ({"cmd": "jupyterhub-singleuser"}, "cmd", ["jupyterhub-singleuser"]),
        ({"uid": 2000}, "uid", 2000),
        ({"fsGid": 0}, "fs_gid", 0),
        ({"serviceAccountName": "sa"}, "service_account", "sa"),
        ({"extraAnnotations": {"a": "b"}}, "extra_annotations", {"a": "b"}),
        ({"nodeSelector": {"a": "b"}}, "node_selector", {"a": "b"}),
        ({"lifecycleHooks": {"preStop": {"sleep": {}}}}, "lifecycle_hooks", {"preStop": {"sleep": {}}}),
        ({"initContainers": [{"name": "a", "image": "b"}]}, "init_containers", [{"name": "a", "image": "b"}]),
        ({"memory": {"limit": None, "guarantee": None}}, "mem_limit", None),
        ({"extraResource": {"limits": {"gpu": "1"}}}, "extra_resource_limits", {"gpu": "1", **DISK}),
        ({"extraEnv": {"A": "1", "C": None}}, "environment", {"A": "1"}),
        ({"extraEnv": {"B": {"value": "2"}}}, "environment", {"B": {"name": "B", "value": "2"}}),
        ({"extraEnv": [{"name": "A", "value": "1"}]}, "environment", {"A": {"name": "A", "value": "1"}}),
        ({"image": {"name": "q/x", "tag": "sha256:" + "a" * 64}}, "image", "q/x@sha256:" + "a" * 64),
        ({"image": {"name": "q/x", "tag": "1", "pullPolicy": "Always"}}, "image_pull_policy", "Always"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_singleuser_keys(load_config: Any, make_spawner: Any, values: Any, trait: str, expected: Any) -> None:
    spawner = make_spawner(load_config({"singleuser": values}), LAUNCH)
    assert getattr(spawner, trait) == expected


async def test_storage(load_config: Any, make_spawner: Any) -> None:
    dynamic = make_spawner(load_config({"singleuser": {"storage": {"type": "dynamic", "capacity": "5Gi"}}}), LAUNCH)
    pod = await manifest_of(dynamic)
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == "claim-binder-examples-hello-abc12345"
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"mountPath": "/home/jovyan", "name": volume["name"]}]
    assert dynamic.storage_capacity == "5Gi"
    static = make_spawner(
        load_config({"singleuser": {"storage": {"type": "static", "static": {"pvcName": "homes"}}}}), LAUNCH
    )
    assert static.storage_pvc_ensure is False
    (mount,) = (await manifest_of(static))["spec"]["containers"][0]["volumeMounts"]
    assert mount["subPath"] == "binder-examples-hello-abc12345"


async def test_extra_files(load_config: Any, make_spawner: Any) -> None:
    files = {"a": {"mountPath": "/etc/a", "stringData": "x", "mode": 0o444}}
    pod = await manifest_of(make_spawner(load_config({"singleuser": {"extraFiles": files}}), LAUNCH))
    assert pod["spec"]["volumes"] == [
        {"name": "files", "secret": {"secretName": "singleuser", "items": [{"key": "a", "path": "a", "mode": 0o444}]}}
    ]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"mountPath": "/etc/a", "name": "files", "subPath": "a"}]


@pytest.mark.parametrize("purpose", ["prefer", "require", "ignore"])
async def test_node_purpose(load_config: Any, make_spawner: Any, purpose: str) -> None:
    values = {"scheduling": {"userPods": {"nodeAffinity": {"matchNodePurpose": purpose}}}}
    affinity = (await manifest_of(make_spawner(load_config(values), LAUNCH)))["spec"].get("affinity", {})
    kinds = {key for key, terms in affinity.get("nodeAffinity", {}).items() if terms}
    assert (
        kinds
        == {
            "prefer": {"preferredDuringSchedulingIgnoredDuringExecution"},
            "require": {"requiredDuringSchedulingIgnoredDuringExecution"},
            "ignore": set(),
        }[purpose]
    )


def test_extra_config_runs_last_by_sorted_key(load_config: Any) -> None:
    config = load_config(
        {
            "hub": {
                "config": {"JupyterHub": {"active_server_limit": 1, "cookie_secret": "00" * 32}},
                "extraConfig": {
                    "b": "c.JupyterHub.active_server_limit += 1",
                    "a": "c.JupyterHub.active_server_limit = 10",
                    "c": "from z2jh import get_config\nc.JupyterHub.template_vars = {'x': get_config('custom.x')}",
                    "gone": None,
                },
            },
            "custom": {"x": "y"},
        }
    )
    assert config.JupyterHub.active_server_limit == 11
    assert config.JupyterHub.template_vars["x"] == "y"
    assert config.JupyterHub.cookie_secret == bytes(32)  # by the Secret, never as a text from hub.config


def test_files_of_the_image_stand_before_extra_config(load_config: Any, tmp_path: Any) -> None:
    folder = tmp_path / "jupyterhub_config.d"
    folder.mkdir()
    (folder / "10-own.py").write_text("c.JupyterHub.active_server_limit = 5\nc.JupyterHub.allow_named_servers = True\n")
    config = load_config({"hub": {"extraConfig": {"x": "c.JupyterHub.active_server_limit += 1"}}})
    assert config.JupyterHub.active_server_limit == 6
    assert config.JupyterHub.allow_named_servers is True


def test_a_failing_extra_config_names_its_key(load_config: Any) -> None:
    with pytest.raises(ZeroDivisionError) as failure:
        load_config({"hub": {"extraConfig": {"mine": "\n1 / 0"}}})
    assert failure.traceback[-1].path == "hub.extraConfig.mine" or "hub.extraConfig.mine" in str(failure.traceback[-1])


def test_a_section_in_small_letters_is_refused(load_config: Any) -> None:
    with pytest.raises(SystemExit, match=r"hub\.config\.jupyterhub: a section is a class"):
        load_config({"hub": {"config": {"jupyterhub": {"x": 1}}}})


def test_what_an_environment_takes_away(load_config: Any) -> None:
    config = load_config({"hub": {"services": {"binder": None}, "loadRoles": {"binder": None}}})
    assert [service["name"] for service in config.JupyterHub.services] == ["jupyterhub-idle-culler"]


def test_a_secret_of_the_operators_own_stands_first(load_config: Any, tmp_path: Any) -> None:
    own = tmp_path / "existing-secret"
    own.mkdir()
    (own / "hub.config.CryptKeeper.keys").write_text("ab" * 32)
    (own / "values.yaml").write_text("hub: {concurrentSpawnLimit: 3}\n")
    config = load_config()
    assert config.CryptKeeper["keys"] == ["ab" * 32]
    assert config.JupyterHub.concurrent_spawn_limit == 3


def page_of(config: Any, name: str) -> str:
    """An error page, as JupyterHub finds and renders it."""
    hub = JupyterHub(config=config)
    hub.init_logging()
    ours = [*hub.template_paths, str(Path(hub.data_files_path) / "templates")]
    loader = ChoiceLoader(
        [PrefixLoader({"templates": FileSystemLoader(ours[-1:])}), FileSystemLoader(ours)],
    )
    names = {
        "static_url": lambda path, **_: path,
        "services": [],
        "user": None,
        "base_url": "/hub/",
        "parsed_scopes": {},
        "message": "",
    }
    page = Environment(loader=loader, autoescape=True).get_template(name)
    return page.render(**names, **hub.template_vars, status_code=403, status_message="None", logo_url="/")


@pytest.mark.parametrize("name", ["403.html", "503.html"])
def test_a_visitor_whose_server_is_gone_is_told_so(load_config: Any, name: str) -> None:
    shown = {"global": {"domain": "binder.example.org", "publicPort": 8080}}
    page = page_of(load_config(**shown), name)
    assert "This server has ended" in page
    assert "403 : None" not in page
    assert 'href="http://binder.example.org:8080/"' in page


def test_a_hub_with_logins_and_the_operators_own_pages_come_first(load_config: Any) -> None:
    own = load_config({"hub": {"templatePaths": ["/srv/own"], "templateVars": {"binder_url": "https://other/"}}})
    assert own.JupyterHub.template_paths == ["/srv/own", TEMPLATES]
    assert own.JupyterHub.template_vars["binder_url"] == "https://other/"
    logins = load_config({"hub": {"config": {"JupyterHub": {"authenticator_class": "dummy"}}}})
    assert TEMPLATES not in logins.JupyterHub.template_paths
