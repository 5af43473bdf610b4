"""The hub's configuration: from the chart's values (z2jh), then hub.config, then hub.extraConfig by sorted key."""

import glob
import json
import os
import sys
from binascii import a2b_hex

from jupyterhub import scopes as hub_scopes
from jupyterhub.utils import url_path_join
from tornado.httpclient import AsyncHTTPClient

sys.path.insert(0, os.environ.get("Z2JH_DIRECTORY", "/usr/local/etc/jupyterhub"))

from z2jh import (  # noqa: E402
    HERE,
    get_config,
    get_name,
    get_name_env,
    get_secret_value,
    set_config_if_not_none,
)


def camel_case(name):
    """cookie_max_age_days as it is written in values: cookieMaxAgeDays."""
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def text_of(value):
    """A variable's value: numbers and booleans of a values file as they are written there."""
    return value if isinstance(value, str) else json.dumps(value)


def env_list(values):
    """singleuser.extraEnv as KubeSpawner's environment: a map of texts, or of EnvVars without their names."""
    if isinstance(values, list):
        return {entry["name"]: entry for entry in values}
    return {
        name: {"name": name, **value} if isinstance(value, dict) else text_of(value)
        for name, value in (values or {}).items()
        if value is not None
    }


# --- the hub itself -------------------------------------------------------------------------------------------------

# The hub asks users' servers whether they are there, and these may answer with anything. The proxy's routes fit, too.
AsyncHTTPClient.configure(None, max_body_size=8 * 1024 * 1024)

base_url = url_path_join("/", get_config("hub.baseUrl") or "/", "/")
release = get_config("Release.Name", os.environ.get("HELM_RELEASE_NAME", ""))

c.JupyterHub.base_url = base_url
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.hub_bind_url = "http://:8081"
# A Service's name, never the pod's address: servers that are running keep it over a restart of the hub.
c.JupyterHub.hub_connect_url = f"http://{get_name('hub')}:{get_name_env('hub', '_SERVICE_PORT')}"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
# The answer to a launch is 202 at once; the launcher then follows the progress stream.
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.cookie_secret = a2b_hex(get_secret_value("hub.config.JupyterHub.cookie_secret"))
c.CryptKeeper.keys = get_secret_value("hub.config.CryptKeeper.keys").split(";")

c.ConfigurableHTTPProxy.api_url = f"http://{get_name('proxy-api')}:{get_name_env('proxy-api', '_SERVICE_PORT')}"
c.ConfigurableHTTPProxy.should_start = False
try:
    from binderops.hub.route_keeper import RouteKeepingProxy
    from binderops.hub.scope_caches import keep_small
    from binderops.memory import keep_apart
except ImportError:  # an image of the operator's own: a proxy that crashed has its routes back within a minute
    pass
else:
    keep_apart()
    keep_small(hub_scopes)
    c.JupyterHub.proxy_class = RouteKeepingProxy

for trait in (
    "concurrent_spawn_limit",
    "active_server_limit",
    "allow_named_servers",
    "named_server_limit_per_user",
    "authenticate_prometheus",
    "redirect_to_server",
    "shutdown_on_logout",
    "template_paths",
    "template_vars",
):
    set_config_if_not_none(c.JupyterHub, trait, "hub." + camel_case(trait))
set_config_if_not_none(c.Spawner, "consecutive_failure_limit", "hub.consecutiveFailureLimit")

db_type = get_config("hub.db.type")
if db_type == "sqlite-pvc":
    c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
elif db_type == "sqlite-memory":
    c.JupyterHub.db_url = "sqlite://"
else:
    set_config_if_not_none(c.JupyterHub, "db_url", "hub.db.url")
db_password = get_secret_value("hub.db.password")
if db_password is not None:
    os.environ.update({"postgres": {"PGPASSWORD": db_password}}.get(db_type, {"MYSQL_PWD": db_password}))

# --- users' servers -------------------------------------------------------------------------------------------------

c.KubeSpawner.namespace = os.environ.get("POD_NAMESPACE", "default")

try:
    from binderops.hub.spawn_hook import wait_until_served
except ImportError:  # an image of the operator's own: KubeSpawner's waiting is slower, and right
    pass
else:
    c.KubeSpawner.after_pod_created_hook = wait_until_served

for trait, key in (
    ("pod_name_template", "podNameTemplate"),
    ("start_timeout", "startTimeout"),
    ("image_pull_policy", "image.pullPolicy"),
    ("events_enabled", "events"),
    ("extra_labels", "extraLabels"),
    ("extra_annotations", "extraAnnotations"),
    ("allow_privilege_escalation", "allowPrivilegeEscalation"),
    ("uid", "uid"),
    ("fs_gid", "fsGid"),
    ("service_account", "serviceAccountName"),
    ("node_selector", "nodeSelector"),
    ("node_affinity_required", "extraNodeAffinity.required"),
    ("node_affinity_preferred", "extraNodeAffinity.preferred"),
    ("pod_affinity_required", "extraPodAffinity.required"),
    ("pod_affinity_preferred", "extraPodAffinity.preferred"),
    ("pod_anti_affinity_required", "extraPodAntiAffinity.required"),
    ("pod_anti_affinity_preferred", "extraPodAntiAffinity.preferred"),
    ("lifecycle_hooks", "lifecycleHooks"),
    ("init_containers", "initContainers"),
    ("extra_containers", "extraContainers"),
    ("mem_limit", "memory.limit"),
    ("mem_guarantee", "memory.guarantee"),
    ("cpu_limit", "cpu.limit"),
    ("cpu_guarantee", "cpu.guarantee"),
    ("extra_resource_limits", "extraResource.limits"),
    ("extra_resource_guarantees", "extraResource.guarantees"),
    ("extra_pod_config", "extraPodConfig"),
    ("default_url", "defaultUrl"),
    ("cmd", "cmd"),
    ("profile_list", "profileList"),
):
    value = get_config(f"singleuser.{key}")
    if value not in (None, ""):
        setattr(c.KubeSpawner, trait, value)

c.KubeSpawner.environment = env_list(get_config("singleuser.extraEnv"))
chart = f"{get_config('Chart.Name')}-{get_config('Chart.Version')}".replace("+", "_")
app = get_config("nameOverride") or get_config("Chart.Name")
# What NetworkPolicies, quotas and dashboards select users' pods by; `component` comes from KubeSpawner.
c.KubeSpawner.common_labels = {
    "app": app,
    "release": release,
    "chart": chart,
    "app.kubernetes.io/name": app,
    "app.kubernetes.io/instance": release,
    "app.kubernetes.io/managed-by": "kubespawner",
    "helm.sh/chart": chart,
}


def image_reference(own, shared):
    """NAME:TAG, or NAME@sha256:… where the tag is a digest: as the templates join them."""
    image = own if own and own.get("name") else shared or {}
    if not image.get("name"):
        return None
    tag = str(image.get("tag") or "latest")
    return image["name"] + ("@" if tag.startswith("sha256:") else ":") + tag


image = image_reference(get_config("singleuser.image"), get_config("global.images.notebook"))
if image:
    c.KubeSpawner.image = image
if not get_config("singleuser.image.pullPolicy"):
    c.KubeSpawner.image_pull_policy = "IfNotPresent"
c.KubeSpawner.image_pull_secrets = [
    secret["name"] if isinstance(secret, dict) else secret
    for secret in (get_config("imagePullSecrets") or []) + (get_config("singleuser.image.pullSecrets") or [])
]
c.KubeSpawner.tolerations = (get_config("scheduling.userPods.tolerations") or []) + (
    get_config("singleuser.extraTolerations") or []
)
if get_config("scheduling.podPriority.enabled"):
    c.KubeSpawner.priority_class_name = get_name("priority")

match_node_purpose = get_config("scheduling.userPods.nodeAffinity.matchNodePurpose")
if match_node_purpose in ("prefer", "require"):
    user_nodes = {
        "matchExpressions": [{"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}],
    }
    if match_node_purpose == "require":
        c.KubeSpawner.node_affinity_required.append(user_nodes)
    else:
        c.KubeSpawner.node_affinity_preferred.append({"weight": 100, "preference": user_nodes})

# --- their storage --------------------------------------------------------------------------------------------------

storage = get_config("singleuser.storage") or {}
volumes, mounts = [], []
c.KubeSpawner.storage_pvc_ensure = storage.get("type") == "dynamic"
if storage.get("type") == "dynamic":
    dynamic = storage["dynamic"]
    volume = dynamic["volumeNameTemplate"]
    if dynamic.get("pvcNameTemplate"):
        c.KubeSpawner.pvc_name_template = dynamic["pvcNameTemplate"]
    if dynamic.get("storageClass"):
        c.KubeSpawner.storage_class = dynamic["storageClass"]
    c.KubeSpawner.storage_access_modes = dynamic["storageAccessModes"]
    c.KubeSpawner.storage_capacity = storage["capacity"]
    c.KubeSpawner.storage_extra_labels = storage.get("extraLabels") or {}
    volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": "{pvc_name}"}})
    mounts.append({"mountPath": storage["homeMountPath"], "name": volume})
    if dynamic.get("subPath"):
        mounts[-1]["subPath"] = dynamic["subPath"]
elif storage.get("type") == "static":
    claim = storage["static"]["pvcName"]
    volumes.append({"name": "home", "persistentVolumeClaim": {"claimName": claim}})
    mounts.append(
        {"mountPath": storage["homeMountPath"], "name": "home", "subPath": storage["static"]["subPath"]},
    )

extra_files = get_config("singleuser.extraFiles") or {}
if extra_files:
    items = [
        {"key": key, "path": key, **({"mode": file["mode"]} if file.get("mode") else {})}
        for key, file in sorted(extra_files.items())
    ]
    volumes.append({"name": "files", "secret": {"secretName": get_name("singleuser"), "items": items}})
    mounts.extend(
        {"mountPath": file["mountPath"], "subPath": key, "name": "files"} for key, file in sorted(extra_files.items())
    )

c.KubeSpawner.volumes = volumes + (storage.get("extraVolumes") or [])
c.KubeSpawner.volume_mounts = mounts + (storage.get("extraVolumeMounts") or [])

# --- services and roles ---------------------------------------------------------------------------------------------

c.JupyterHub.services = []
c.JupyterHub.load_roles = []

if get_config("cull.enabled", False):
    command = [
        sys.executable,
        "-m",
        "jupyterhub_idle_culler",
        "--url=http://localhost:8081" + url_path_join(base_url, "hub/api"),
        f"--timeout={get_config('cull.timeout')}",
        f"--cull-every={get_config('cull.every')}",
        f"--concurrency={get_config('cull.concurrency')}",
        f"--max-age={get_config('cull.maxAge')}",
    ]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    if get_config("cull.users"):
        command.append("--cull-users=true")
        scopes.append("admin:users")
    if not get_config("cull.adminUsers"):
        command.append("--cull-admin-users=false")
    if get_config("cull.removeNamedServers"):
        command.append("--remove-named-servers=true")
    c.JupyterHub.services.append({"name": "jupyterhub-idle-culler", "command": command})
    c.JupyterHub.load_roles.append(
        {"name": "jupyterhub-idle-culler", "scopes": scopes, "services": ["jupyterhub-idle-culler"]},
    )

for name, service in (get_config("hub.services") or {}).items():
    if service is None:  # an entry that an environment takes away
        continue
    entry = {"name": name, **service}
    entry.pop("apiToken", None)
    entry["api_token"] = get_secret_value(f"hub.services.{name}.apiToken")
    c.JupyterHub.services.append(entry)

for name, role in (get_config("hub.loadRoles") or {}).items():
    if role is not None:
        c.JupyterHub.load_roles.append({"name": name, **role})

if get_config("debug.enabled", False):
    c.JupyterHub.log_level = "DEBUG"
    c.Spawner.debug = True

# --- what the operator wrote ----------------------------------------------------------------------------------------

# Given to the hub by the Secret hub, above: values would be a second, unsynchronised source.
FROM_THE_SECRET = {
    "JupyterHub": ("cookie_secret", "proxy_auth_token", "services"),
    "CryptKeeper": ("keys",),
    "ConfigurableHTTPProxy": ("auth_token",),
}
for section, traits in (get_config("hub.config") or {}).items():
    if not section[:1].isupper():
        sys.exit(f"hub.config.{section}: a section is a class, whose name begins with a capital letter")
    dropped = FROM_THE_SECRET.get(section, ())
    c[section].update({trait: value for trait, value in (traits or {}).items() if trait not in dropped})

for file in sorted(glob.glob(os.path.join(HERE, "jupyterhub_config.d", "*.py"))):
    load_subconfig(file)  # noqa: F821 (traitlets gives it to this file)

for key, code in sorted((get_config("hub.extraConfig") or {}).items()):
    if code:
        print(f"Loading extra config: {key}")
        exec(compile(code, f"hub.extraConfig.{key}", "exec"))  # noqa: S102 (the operator's own program)

# --- visitors whose server is gone ----------------------------------------------------------------------------------

if c.JupyterHub.authenticator_class == "null":
    try:
        from binderops.hub import TEMPLATES
    except ImportError:  # an image of the operator's own: JupyterHub's page says "403 : None"
        pass
    else:
        domain, tls_port = get_config("global.domain"), int(get_config("global.publicTlsPort") or 0)
        port = tls_port or int(get_config("global.publicPort") or 80)
        authority = domain if port == (443 if tls_port else 80) else f"{domain}:{port}"
        c.JupyterHub.template_paths = [*(c.JupyterHub.get("template_paths") or []), TEMPLATES]
        c.JupyterHub.template_vars = {
            "binder_url": f"{'https' if tls_port else 'http'}://{authority}/" if domain else "",
            **(c.JupyterHub.get("template_vars") or {}),
        }
