"""A deployment as its operator changes it: keys of users' servers in a pod that runs, a registry and paths of its own.

That registry wants a password: images are kept there, and no repository's code sees it. Binder and hub are below paths
of their hosts. One values file has it all.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from ruamel.yaml import YAML
from tests.e2e.conftest import NAME, NAMESPACE, UP_DEADLINE, Deployed
from tests.e2e.launches import Binder, git_spec, phases_of, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import Repositories
from tests.oci.docker_registry import HTPASSWD, OWN_PASSWORD, OWN_USER

from binderops.oci.references import Reference

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.podman,
    pytest.mark.root,
]

Kubectl = Callable[..., str]
BASE, HUB_BASE = "/b", "h"  # written as operators do: with slashes and without
ELSEWHERE = "registries"  # a namespace of its own
HOST = f"own.{ELSEWHERE}.svc:5000"
CGROUPS = Path("/sys/fs/cgroup")
CONFIGURATION = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/tmp/registry"}},
    "http": {"addr": ":5000"},
    "auth": {"htpasswd": {"realm": "own", "path": "/etc/own/htpasswd"}},
}
# Looks for the password, given backwards, in every environment and every small file that this code can read.
PROBE = """\
import glob, os
wanted = {reversed!r}[::-1].encode()
forms = [wanted, __import__("base64").b64encode(({user!r} + ":").encode() + wanted)]
files = glob.glob("/proc/[0-9]*/environ")
for top in ("/etc", "/home", "/run", "/var/run", "/var/lib", "/tmp", "/root", "/srv", "/mnt", "/base"):
    for folder, _, names in os.walk(top):
        files += [os.path.join(folder, name) for name in names]
found, looked = [], 0
for path in files:
    try:
        if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
            with open(path, "rb") as file:
                text = file.read()
            looked += 1
            if any(form in text for form in forms):
                found.append(path)
    except OSError:
        pass
seen = f"SEEN {{found}} of {{looked > 100}}"
print(seen)
"""


SERVERS: dict[str, Any] = {
    "uid": 1001,
    "fsGid": 2002,
    "cmd": ["sh", "-c", 'echo command > /own/command; exec jupyter-lab "$@"', "jupyter-lab"],
    "extraEnv": {
        "HOME": "/own",  # of a user whom the image does not know
        "OWN_WORDS": "two words",
        "OWN_NAME": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    },
    "memory": {"limit": "700M"},
    "cpu": {"limit": 1.5},
    "nodeSelector": {"kubernetes.io/os": "linux", "hub.jupyter.org/node-purpose": "user"},
    "extraTolerations": [{"key": "own", "operator": "Exists"}],
    "extraFiles": {"motd": {"mountPath": "/etc/own/motd", "stringData": "words of a file", "mode": 0o440}},
    "lifecycleHooks": {
        "postStart": {"exec": {"command": ["sh", "-c", "echo hook > /own/post-start"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo bye > /own/pre-stop; sleep 1"]}},
    },
    "extraPodConfig": {"terminationGracePeriodSeconds": 11},
    "extraLabels": {"own-label": "kept"},
    "storage": {
        "extraVolumes": [{"name": "own", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "own", "mountPath": "/own"}],
    },
}
INIT_USER = 1234
# What both containers beside the server do; they run the image of the registry.
INIT = "echo init by $(id -u) > /own/init"
BESIDE = "trap '' TERM; echo waiting; until [ -e /own/pre-stop ]; do sleep 0.1; done; cat /own/pre-stop"
LOOK = """\
import json, os, pathlib, stat
def read(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError as error:
        return error.strerror
json.dumps({
    "user": [os.getuid(), 2002 in os.getgroups()],
    "group of the volume": os.stat("/own").st_gid,
    "words": os.environ["OWN_WORDS"],
    "name": os.environ["OWN_NAME"],
    "file": [read("/etc/own/motd"), stat.S_IMODE(os.stat("/etc/own/motd").st_mode)],
    "written": {name: read("/own/" + name) for name in ("command", "init", "post-start")},
    "no new privileges": "NoNewPrivs:\\t1" in read("/proc/self/status"),
})
"""


def probe() -> str:
    return PROBE.format(reversed=OWN_PASSWORD[::-1], user=OWN_USER)


@dataclass(frozen=True)
class Own:
    """The registry, as the test asks it in its pod's place."""

    kubectl: Kubectl

    def get(self, path: str) -> Any:
        """The JSON of one of its API's resources, asked from its own pod."""
        code = (
            "import base64, sys, urllib.request\n"
            f"login = base64.b64encode(b'{OWN_USER}:{OWN_PASSWORD}').decode()\n"
            "accepted = 'application/vnd.oci.image.manifest.v1+json, application/json'\n"
            "headers = {'Authorization': 'Basic ' + login, 'Accept': accepted}\n"
            f"request = urllib.request.Request('http://127.0.0.1:5000/v2/{path}', headers=headers)\n"
            "sys.stdout.write(urllib.request.urlopen(request, timeout=10).read().decode())\n"
        )
        return json.loads(self.kubectl("-n", ELSEWHERE, "exec", "own", "--", "python", "-c", code))


@pytest.fixture(scope="module")
def own(deployed: Deployed, kubectl: Kubectl) -> Iterator[Own]:
    """Debian's docker-registry in a namespace of its own; it knows one user."""
    deployment = json.loads(kubectl("get", "deployment", "registry", "-o", "json"))
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    files = {"config.yml": json.dumps(CONFIGURATION), "htpasswd": HTPASSWD}
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": ELSEWHERE}, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "own", "namespace": ELSEWHERE},
            "spec": {"selector": {"app": "own"}, "ports": [{"port": 5000}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "own", "namespace": ELSEWHERE, "labels": {"app": "own"}},
            "spec": {
                "enableServiceLinks": False,
                "containers": [
                    {
                        "name": "registry",
                        "image": image,
                        "args": ["docker-registry", "serve", "/etc/own/config.yml"],
                        "volumeMounts": [{"name": "files", "mountPath": "/etc/own"}],
                        "readinessProbe": {"tcpSocket": {"port": 5000}, "periodSeconds": 1},
                    }
                ],
                "volumes": [{"name": "files", "configMap": {"name": "own"}}],
            },
        },
    ]
    kubectl("create", "namespace", ELSEWHERE)
    try:
        account = ("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
        until(lambda: bool(kubectl("-n", ELSEWHERE, *account)), "the namespace to have its account")
        everything = {"apiVersion": "v1", "kind": "List", "items": objects}
        kubectl("-n", ELSEWHERE, "apply", "-f", "-", given=json.dumps(everything))
        kubectl("-n", ELSEWHERE, "wait", "--for=condition=Ready", "pod/own", "--timeout=60s", timeout=90)
        yield Own(kubectl)
    finally:
        kubectl("delete", "namespace", ELSEWHERE, "--timeout=60s", timeout=90)


@pytest.fixture(scope="module")
def configured(
    deployed: Deployed, own: Own, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """The deployment told to keep images there; as it was at the end."""
    pod = json.loads(kubectl("-n", ELSEWHERE, "get", "pod", "own", "-o", "json"))
    service = json.loads(kubectl("-n", ELSEWHERE, "get", "service", "own", "-o", "json"))
    addresses = [pod["status"]["podIP"], service["spec"]["clusterIP"]]
    root = tmp_path_factory.mktemp("own") / "repository"
    shutil.copytree(deployed.root, root)
    yaml = YAML()
    layer = yaml.load((root / "config/e2e.yaml").read_text())
    layer["binderhub"] |= {
        "registry": {"url": f"http://{HOST}", "username": OWN_USER, "password": OWN_PASSWORD},
        "networkPolicy": {
            "egress": {"internalHosts": [{"cidr": f"{address}/32", "ports": [5000]} for address in addresses]}
        },
    }
    image = pod["spec"]["containers"][0]["image"]
    mounts = SERVERS["storage"]["extraVolumeMounts"]
    servers = layer["binderhub"]["jupyterhub"]["singleuser"] | SERVERS
    servers["initContainers"] = [
        {
            "name": "first",
            "image": image,
            "command": ["sh", "-c", INIT],
            "volumeMounts": mounts,
            "securityContext": {"runAsUser": INIT_USER},
        }
    ]
    servers["extraContainers"] = [
        {"name": "beside", "image": image, "command": ["sh", "-c", BESIDE], "volumeMounts": mounts}
    ]
    hub = {"baseUrl": HUB_BASE, "nodeSelector": {"hub.jupyter.org/node-purpose": "core"}}
    layer["binderhub"]["jupyterhub"] |= {"singleuser": servers, "hub": hub}
    layer["binderhub"]["config"]["BinderHub"] = {"image_prefix": f"{HOST}/org/binder-", "base_url": BASE}
    with (root / "config/e2e.yaml").open("w") as file:
        yaml.dump(layer, file)
    try:
        # The proof is a launch: what it uploads is built, copied, pulled and started.
        done = Deployed(root).json("deploy", NAME, timeout=UP_DEADLINE)
        assert done["binder_url"] == f"{deployed.url.rstrip('/')}{BASE}/"
        yield Deployed(root)
    finally:
        again = deployed.run("deploy", NAME, timeout=UP_DEADLINE)
        assert again.returncode == 0, f"{again.stdout}\n{again.stderr}"


@pytest.fixture(scope="module")
def binder(configured: Deployed) -> Binder:
    """The binder below its path."""
    return Binder(f"{configured.url.rstrip('/')}{BASE}/")


def test_binder_and_hub_are_below_their_paths(binder: Binder) -> None:
    server = binder.launch("local/hello/HEAD")
    assert urlsplit(server.url).path == f"/h/user/{server.user}/"
    assert server.run("6 * 7") == "42"
    # The page's own files and links, and what is at the top of the hosts.
    page = public(binder.url)
    assert page.status_code == 200
    links = {link for link in re.findall(r'(?:href|src)="(/[^"]*)"', page.text) if not link.startswith("//")}
    assert links and all(link.startswith(f"{BASE}/") for link in links)
    assert {public(urljoin(binder.url, link)).status_code for link in links} == {200}
    hub = urljoin(server.url, "/")
    assert public(f"{hub}h/hub/health").status_code == 200
    assert public(f"{hub}hub/health").status_code == 404


def public(url: str) -> httpx.Response:
    """What the deployment answers at one of its public addresses."""
    asked = urlsplit(url)
    address = f"http://127.0.0.1:{asked.port}{asked.path}"
    return httpx.get(address, headers={"Host": asked.netloc}, timeout=30, trust_env=False)


def test_an_image_lies_there_and_is_found_there(
    configured: Deployed, own: Own, binder: Binder, repositories: Repositories
) -> None:
    spec = git_spec(repositories.add("kept-outside", {"requirements.txt": "", "one.ipynb": "{}"}))
    first = binder.launch(spec)
    assert "pushing" in phases_of(first.events)
    assert f"MB in {HOST}" in text_of(first.events)
    image = Reference.parse(first.events[-1]["image"])
    assert (image.registry, image.repository[:11]) == (HOST, "org/binder-")
    assert image.tag in own.get(f"{image.repository}/tags/list")["tags"]

    second = binder.launch(spec)
    assert phases_of(second.events) == ["built", "launching", "ready"]
    assert second.events[-1]["image"] == str(image)

    # Another commit that changes content alone: one more layer, there.
    repositories.commit("kept-outside", {"two.ipynb": "{}"})
    third = binder.launch(spec)
    assert "its environment is used again, nothing is built" in text_of(third.events)
    assert {"one.ipynb", "two.ipynb"} <= {entry["name"] for entry in third.get("api/contents")["content"]}
    assert Reference.parse(third.events[-1]["image"]).tag in own.get(f"{image.repository}/tags/list")["tags"]


def test_keys_of_users_servers_hold_in_a_pod_that_runs(
    configured: Deployed, binder: Binder, kubectl: Kubectl, stock_programs: Any
) -> None:
    server = binder.launch("local/hello/HEAD")
    pods = ["pods", "-l", f"own-label=kept,hub.jupyter.org/username={server.user}"]
    (pod,) = json.loads(kubectl("get", *pods, "-o", "json"))["items"]
    name, spec = pod["metadata"]["name"], pod["spec"]
    assert spec["nodeSelector"] == SERVERS["nodeSelector"]
    assert SERVERS["extraTolerations"][0] in spec["tolerations"]
    assert spec["terminationGracePeriodSeconds"] == 11

    found = json.loads(ast.literal_eval(server.run(LOOK)))
    assert found == {
        "user": [1001, True],
        "group of the volume": 2002,
        "words": "two words",
        "name": name,
        "file": ["words of a file", 0o440],
        "written": {"command": "command", "init": f"init by {INIT_USER}", "post-start": "hook"},
        "no new privileges": True,
    }
    assert str(700 << 20) in limits(pod, "memory", "memory.limit_in_bytes", "memory.max")
    assert "150000" in limits(pod, "cpu", "cpu.cfs_quota_us", "cpu.max")

    nowhere = {"apiVersion": "v1", "spec": {"nodeSelector": {"kubernetes.io/os": "plan9"}}}
    kubectl("run", "nowhere", f"--image={spec['initContainers'][0]['image']}", f"--overrides={json.dumps(nowhere)}")
    try:
        kubectl("wait", "--for=condition=PodScheduled=False", "pod/nowhere", "--timeout=20s")
    finally:
        kubectl("delete", "pod", "nowhere", "--now")

    command = [str(stock_programs.kubectl), "--kubeconfig", str(configured.kubeconfig), "-n", NAMESPACE]
    with subprocess.Popen([*command, "logs", "-f", name, "-c", "beside"], stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout
        assert log.stdout.readline() == "waiting\n"
        kubectl("delete", "pod", name, "--timeout=30s")
        assert log.communicate(timeout=30)[0] == "bye\n"


def test_a_selector_that_nothing_here_meets_is_told_before_anything_changes(
    configured: Deployed, kubectl: Kubectl, tmp_path: Path
) -> None:
    root = tmp_path / "repository"
    shutil.copytree(configured.root, root)
    yaml = YAML()
    layer = yaml.load((root / "config/e2e.yaml").read_text())
    layer["binderhub"]["jupyterhub"]["hub"]["nodeSelector"]["own.example/pool"] = "core"
    with (root / "config/e2e.yaml").open("w") as file:
        yaml.dump(layer, file)
    hub = ("get", "deployment", "hub", "-o", "jsonpath={.metadata.generation}")
    before = kubectl(*hub)
    refused = Deployed(root).run("deploy", NAME)
    said = " ".join(refused.stderr.split())
    assert refused.returncode != 0
    assert f"no place on the node {NAME}: Deployment hub (own.example/pool=core)" in said
    assert "kubernetes.io/os=linux" in said
    assert kubectl(*hub) == before


def test_layers_of_the_base_lie_there_once(configured: Deployed, own: Own, binder: Binder) -> None:
    (tag,) = own.get("org/binder-base/tags/list")["tags"]
    base = own.get(f"org/binder-base/manifests/{tag}")
    launched = Reference.parse(binder.launch("local/hello/HEAD").events[-1]["image"])
    built = own.get(f"{launched.repository}/manifests/{launched.tag}")
    layers = [layer["digest"] for layer in base["layers"]]
    assert [layer["digest"] for layer in built["layers"]][: len(layers)] == layers


def test_no_repositorys_code_sees_its_password(
    configured: Deployed, binder: Binder, repositories: Repositories, kubectl: Kubectl
) -> None:
    # As given to the binder, and as a pod sees it: what the API would hand to a container.
    assert is_in(seen_by(kubectl, "app=binder,component=binder")), "this does not see what a pod is given"

    steps = {"requirements.txt": "", "postBuild": "#!/bin/sh\npython3 look.py\n", "look.py": probe()}
    planted = {**steps, "notes.txt": f"the password is {OWN_PASSWORD}"}
    assert_seen(text_of(binder.launch(git_spec(repositories.add("planted", planted))).events), "notes.txt")
    given: list[str] = []
    events = []
    for event in binder.stream(git_spec(repositories.add("looking", steps))):
        events.append(event)
        if "STEP" in str(event.get("message")) and not given:
            given.append(seen_by(kubectl, "component=binderhub-build"))
    assert events[-1]["phase"] == "ready", text_of(events)
    assert "SEEN [] of True" in text_of(events)
    assert given and '"CONTAINER_ENGINE_REGISTRY_CREDENTIALS"' in given[0]
    assert not is_in(given[0])

    server = binder.launch("local/hello/HEAD")
    server.run(f"open('/tmp/planted', 'w').write('{OWN_PASSWORD}')")
    assert_seen(server.run(probe() + "seen"), "/tmp/planted")
    server.run("import os; str(os.remove('/tmp/planted'))")
    assert "SEEN [] of True" in server.run(probe() + "seen")
    assert not is_in(seen_by(kubectl, f"hub.jupyter.org/username={server.user}"))


def limits(pod: Any, controller: str, *names: str) -> set[str]:
    """What the machine's control groups say of a pod's containers, whatever the version of those groups."""
    top = CGROUPS / controller if (CGROUPS / controller).is_dir() else CGROUPS
    group = top / "binderops" / NAME / str(pod["metadata"]["uid"])
    return {file.read_text().split()[0] for name in names for file in group.glob(f"libpod-*/{name}")}


def assert_seen(text: str, file: str) -> None:
    lines = [line for line in text.splitlines() if "SEEN [" in line]
    assert lines, text
    assert file in lines[-1], lines
    assert "of True" in lines[-1], lines


def is_in(text: str) -> bool:
    login = base64.b64encode(f"{OWN_USER}:{OWN_PASSWORD}".encode()).decode()
    return OWN_PASSWORD in text or login in text


def seen_by(kubectl: Kubectl, labels: str) -> str:
    """All that the API gives to the containers of some pods, in clear: specs, and their Secrets and ConfigMaps."""
    text = ""
    for pod in json.loads(kubectl("get", "pods", "-l", labels, "-o", "json"))["items"]:
        text += json.dumps(pod)
        for kind, name in given_to(pod["spec"]):
            found = json.loads(kubectl("get", kind, name, "--ignore-not-found", "-o", "json") or "{}")
            for value in (found.get("data") or {}).values():
                text += base64.b64decode(value).decode() if kind == "secret" else value
    assert text, f"no pod is {labels}"
    return text


def given_to(spec: Any) -> set[tuple[str, str]]:
    """The Secrets and ConfigMaps that containers of a pod mount or have as variables; not what only pulls its image."""
    found = set()
    for volume in spec.get("volumes") or []:
        for part in [volume, *(volume.get("projected") or {}).get("sources", [])]:
            if "secret" in part:
                found.add(("secret", part["secret"].get("secretName") or part["secret"]["name"]))
            if "configMap" in part:
                found.add(("configmap", part["configMap"]["name"]))
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        for entry in [
            *(container.get("envFrom") or []),
            *(item.get("valueFrom", {}) for item in container.get("env", [])),
        ]:
            for key, reference in entry.items():
                if isinstance(reference, dict) and key.startswith(("secret", "configMap")):
                    found.add(("secret" if key.startswith("secret") else "configmap", reference["name"]))
    return found
