"""Credentials that were stolen elsewhere, used from a server and from a build's RUN steps.

Each is worth something: with the policies taken away, or with a credential that may, the same program succeeds.
"""

from __future__ import annotations

import ast
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import API_PORT
from tests.e2e.launches import Binder, git_spec, text_of
from tests.e2e.networks import Host, until
from tests.e2e.policies import without_policies
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

from binderops.binder.builds.manifest import PLACE_ANNOTATION
from binderops.binder.tokens import BuildCredentials
from binderops.oci.tokens import Grants, TokenSigner

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

Kubectl = Callable[..., str]
Answers = dict[str, int | str]
ACCOUNTS = ("hub", "binderhub")
# Answers by name: a status, or why there was none.
API_PROBE = """\
import json, ssl, urllib.error, urllib.request
def ask(url, token):
    request = urllib.request.Request(url, headers={{"Authorization": "Bearer " + token}} if token else {{}})
    context = ssl._create_unverified_context()
    https = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}), https)
    try:
        return opener.open(request, timeout=3).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return "none"
answers = {{name: ask({url!r}, token) for name, token in {tokens!r}.items()}}
"""
REGISTRY_PROBE = """\
import base64, json, re, time, urllib.error, urllib.parse, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
def send(url, method="GET", body=None, **headers):
    try:
        answer = opener.open(urllib.request.Request(url, body, headers, method=method), timeout=10)
        return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, b""
    except OSError:
        return "none", {{}}, b""
def registry(login, image, path, method="GET", body=None):
    base = "http://{registry}/v2/"
    _, headers, _ = send(base)
    realm = dict(re.findall(r'(\\w+)="([^"]*)"', headers.get("WWW-Authenticate", "")))
    scope = "repository:%s:%s" % (image, "pull" if method == "GET" else "pull,push")
    asked = urllib.parse.urlencode({{"service": realm.get("service", ""), "scope": scope}})
    basic = "Basic " + base64.b64encode(login.encode()).decode()
    status, _, content = send(realm["realm"] + "?" + asked, Authorization=basic)
    if status != 200:
        return "no token: %s" % status, b""
    token = json.loads(content)["token"]
    headers = {{"Authorization": "Bearer " + token, "Accept": "application/vnd.oci.image.manifest.v1+json"}}
    if body:
        headers["Content-Type"] = "application/vnd.oci.image.manifest.v1+json"
    status, _, content = send(base + image + path, method, body, **headers)
    return status, content
def handed():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status, _, content = send("http://{store}/login.json")
        if status == 200:
            return json.loads(content)
        time.sleep(0.1)
    raise SystemExit("nobody gave this build its credential")
image, tag, operator, given = {image!r}, {tag!r}, {operator!r}, handed()
# What would be a change of the image, for who may make one.
changed = json.loads(registry(operator, image, "/manifests/" + tag)[1] or "{{}}")
changed["annotations"] = {{**changed.get("annotations", {{}}), "overwritten": "yes"}}
answers = {{}}
for who, login in {{"the operator's": operator, "the build's own": given["own"], "one that may": given["may"]}}.items():
    answers["read with " + who], _ = registry(login, image, "/manifests/" + tag)
    answers["overwrite with " + who], _ = registry(
        login, image, "/manifests/" + tag, "PUT", json.dumps(changed).encode())
    answers["begin an upload with " + who], _ = registry(login, image, "/blobs/uploads/", "POST", b"")
answers["begin an upload to the build's place with its own"], _ = registry(
    given["own"], given["place"], "/blobs/uploads/", "POST", b"")
"""
DOCKERFILE = """\
FROM localhost/binderops/notebook
COPY probe.py /probe.py
RUN python3 /probe.py && exit 1
"""


@pytest.fixture(scope="module")
def stolen(deployed: object, kubectl: Kubectl) -> dict[str, str]:
    """Tokens of the accounts that the release's own pods run under; and none."""
    return {name: kubectl("create", "token", name).strip() for name in ACCOUNTS} | {"nobody": ""}


@pytest.fixture(scope="module")
def api_probe(stolen: dict[str, str], kubectl: Kubectl) -> str:
    endpoint = json.loads(kubectl("get", "endpoints", "kubernetes", "-n", "default", "-o", "json"))
    address = endpoint["subsets"][0]["addresses"][0]["ip"]
    return API_PROBE.format(url=f"https://{address}:{API_PORT}/api/v1/namespaces/binder/pods", tokens=stolen)


def test_a_stolen_token_of_the_cluster_is_out_of_use_in_servers_and_builds(
    binder: Binder, repositories: Repositories, kubectl: Kubectl, api_probe: str
) -> None:
    server = binder.launch(git_spec(repositories.add("stolen", {"index.ipynb": EMPTY_NOTEBOOK})))

    def in_a_server() -> Answers:
        found: Answers = ast.literal_eval(server.run(f"{api_probe}answers"))
        return found

    worth = {"hub": 200, "binderhub": 200, "nobody": 403}
    with without_policies(kubectl):
        until(lambda: in_a_server() == worth, f"{worth} without the policies", timeout=30)
        assert answers_of_a_build(binder, repositories, "stolen-unguarded", api_probe) == worth
    until(lambda: set(in_a_server().values()) == {"none"}, "the policies to be in force again", timeout=30)
    assert set(answers_of_a_build(binder, repositories, "stolen-guarded", api_probe).values()) == {"none"}


def test_a_build_neither_reads_nor_overwrites_anothers_image(
    binder: Binder,
    repositories: Repositories,
    public_host: Host,
    kubectl: Kubectl,
    tmp_path: Path,
) -> None:
    # Another's image, as its pod names it.
    other = binder.launch(git_spec(repositories.add("private-image", {"requirements.txt": "", "own.ipynb": "{}"})))
    pods = json.loads(kubectl("get", "pods", "-l", f"hub.jupyter.org/username={other.user}", "-o", "json"))["items"]
    registry, _, rest = pods[0]["spec"]["containers"][0]["image"].partition("/")
    image, _, tag = rest.rpartition(":")
    pull = json.loads(_secret(kubectl, "registry-pull", ".dockerconfigjson"))["auths"]
    operator = base64.b64decode(next(iter(pull.values()))["auth"]).decode()
    probe = REGISTRY_PROBE.format(
        registry=registry, store=f"{public_host.address}:{STORE_PORT}", image=image, tag=tag, operator=operator
    )
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text(_secret(kubectl, "registry-token", name))
    credentials = BuildCredentials(TokenSigner.load(tmp_path))
    served = tmp_path / "served"
    served.mkdir()
    public_host.serve(served, port=STORE_PORT)
    given = threading.Event()

    def give(text: str) -> None:
        """The build's own credential, as who reads its pod from outside would hand it in, and one that names more."""
        if "STEP 3" not in text or given.is_set():
            return
        pods: list[Any] = json.loads(kubectl("get", "pods", "-l", "component=binderhub-build", "-o", "json"))["items"]
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        assert len(running) == 1
        environment = {entry["name"]: entry.get("value") for entry in running[0]["spec"]["containers"][0]["env"]}
        login = json.loads(environment["CONTAINER_ENGINE_REGISTRY_CREDENTIALS"])
        metadata = running[0]["metadata"]
        place = metadata["annotations"][PLACE_ANNOTATION]
        may = credentials.mint(metadata["name"], Grants(push=frozenset({place, image})), seconds=300)
        own, may = (f"{login['username']}:{password}" for password in (login["password"], may))
        (tmp_path / "new").write_text(json.dumps({"own": own, "may": may, "place": place}))
        (tmp_path / "new").rename(served / "login.json")
        given.set()

    answers = answers_of_a_build(binder, repositories, "registry-thief", probe, seen=give)
    assert given.is_set()
    # The image is there and in reach, and so is its place: the same requests succeed for who may.
    reached = {
        "read with the operator's": 200,
        "read with one that may": 200,
        "overwrite with one that may": 201,
        "begin an upload with one that may": 202,
        "begin an upload to the build's place with its own": 202,
    }
    assert {name: answers.pop(name) for name in reached} == reached
    # Nobody may write but the binder; the machine's own password only reads.
    assert answers == dict.fromkeys(answers, 401)
    assert len(answers) == 5


LOOKING_OUT = """\
FROM localhost/binderops/notebook
USER root
RUN --mount=type=bind,source=root,target=/pod cat /pod/proc/1/environ
"""


@pytest.mark.parametrize(
    ("link", "dockerfile", "explanation"),
    [
        ({"runtime.txt": "/proc/1/environ"}, "", "link"),
        ({"root": "/"}, LOOKING_OUT, "mount"),
    ],
)
def test_a_link_says_nothing_of_the_builder_on_the_page(
    binder: Binder, repositories: Repositories, link: dict[str, str], dockerfile: str, explanation: str
) -> None:
    """What it says without the guards is `build/test_build_escapes`: here the node's pod is the one that is asked."""
    name = f"link-{explanation}"
    files = {"index.ipynb": EMPTY_NOTEBOOK} | ({"Dockerfile": dockerfile} if dockerfile else {})
    url = repositories.add(name, files)
    for path, target in link.items():
        (repositories.root / name / path).symlink_to(target)
    repositories.commit(name, {})
    *events, last = binder.stream(git_spec(url))
    assert last["phase"] == "failed"
    assert last["explanation"]["id"] == explanation, text_of(events)
    # A variable that each build pod has, and nothing of its log says.
    assert "BASE_IMAGE" not in text_of([*events, last])


STORE_PORT = 443  # open to builds; nothing of the tests' own is there


def answers_of_a_build(
    binder: Binder,
    repositories: Repositories,
    name: str,
    probe: str,
    *,
    seen: Callable[[str], None] = lambda text: None,
) -> Answers:
    """What a RUN step's probe prints; `seen` is called with the log so far."""
    files = {"Dockerfile": DOCKERFILE, "probe.py": f"{probe}\nprint('ANSWERS', json.dumps(answers), flush=True)\n"}
    events = []
    for event in binder.stream(git_spec(repositories.add(name, files))):
        events.append(event)
        seen(text_of(events))
    told = next((line for line in text_of(events).splitlines() if line.startswith("ANSWERS ")), None)
    assert told, text_of(events)[-3000:]
    found: Answers = json.loads(told.removeprefix("ANSWERS "))
    return found


def _secret(kubectl: Kubectl, name: str, key: str) -> str:
    data: dict[str, str] = json.loads(kubectl("get", "secret", name, "-o", "json"))["data"]
    return base64.b64decode(data[key]).decode()
