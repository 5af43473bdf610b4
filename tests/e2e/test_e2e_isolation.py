"""What a user's server and a build reach: the public ports of public hosts, and nothing of this deployment's own.

Every target is first reached with the policies taken away: a probe that cannot succeed proves nothing.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.e2e.conftest import API_PORT
from tests.e2e.launches import Binder, Server, git_spec
from tests.e2e.networks import Host, host, until
from tests.e2e.policies import without_policies
from tests.e2e.repositories import EMPTY_NOTEBOOK, GIT_PORT, Repositories

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

Kubectl = Callable[..., str]
Target = tuple[str, int]
OPEN, SHUT_PORT = (80, 443, GIT_PORT), 8081  # mybinder/values.yaml: binderhub.networkPolicy.egress.tcpPorts

ECHO = b"\x08\0\xf7\xff\0\0\0\0"  # an ICMP echo request: type 8, its checksum
# An address may have a kind before it: udp (an answer must come) or icmp (a ping).
PROBE = """\
import concurrent.futures, socket
def asks(kind, address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP if kind == "icmp" else 0) as client:
        client.settimeout(2)
        client.connect((address, port))
        client.send({echo!r})
        return bool(client.recv(100))
def reaches(target):
    kind, _, address = target[0].rpartition("/")
    try:
        if kind:
            return asks(kind, address, target[1])
        socket.create_connection(target, timeout=2).close()
        return True
    except OSError:
        return False
targets = {targets!r}
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    answer = [target for target, reached in zip(targets, pool.map(reaches, targets)) if reached]
"""


@pytest.fixture(scope="module")
def canaries(public_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    """Web servers where a cloud's metadata, a company's network and the public web would be."""
    folder = tmp_path_factory.mktemp("canary")
    with host("e2e-metadata", "169.254.169.254") as metadata, host("e2e-private", "10.203.113.2") as private:
        public = [(public_host, port) for port in (*OPEN, SHUT_PORT) if port != GIT_PORT]  # git itself is there
        for place, port in [(metadata, 80), *((private, port) for port in OPEN), *public]:
            place.serve(folder, port=port)
        for place in (metadata, private, public_host):
            place.start("/usr/bin/python3", "-c", RESOLVER, place.address, port=53)
        with _listening(public_host.gateway, OPEN[0]):
            yield {
                "the metadata address": (metadata.address, 80),
                "the metadata address, mapped into IPv6": (f"::ffff:{metadata.address}", 80),
                "the metadata address's names": (f"udp/{metadata.address}", 53),
                "a private network": (private.address, 80),
                "a private network by https": (private.address, 443),
                "a private network by git": (private.address, 9418),
                "a private network's names": (f"udp/{private.address}", 53),
                "the same by TCP": (private.address, 53),
                "a private network, by ping": (f"icmp/{private.address}", 0),
                "another port of a public host": (public_host.address, SHUT_PORT),
                "a public host by UDP": (f"udp/{public_host.address}", 53),
                "a public host, by ping": (f"icmp/{public_host.address}", 0),
                "this machine's own public address": (public_host.gateway, OPEN[0]),
            }


# Answers whatever it is asked at port 53, by UDP and TCP.
RESOLVER = """\
import socket, sys, threading
listening = socket.create_server((sys.argv[1], 53))
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind((sys.argv[1], 53))
def answer():
    while True:
        asked.sendto(*asked.recvfrom(1000))
threading.Thread(target=answer, daemon=True).start()
while True:
    listening.accept()[0].close()
"""


@contextlib.contextmanager
def _listening(address: str, port: int) -> Iterator[None]:
    """A server of this machine itself."""
    with socketserver.ThreadingTCPServer((address, port), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture(scope="module")
def servers(binder: Binder, repositories: Repositories) -> tuple[Server, Server]:
    """Two users' servers."""
    spec = git_spec(repositories.add("isolation", {"index.ipynb": EMPTY_NOTEBOOK}))
    return binder.launch(spec), binder.launch(spec)


@pytest.fixture(scope="module")
def forbidden(canaries: dict[str, Target], servers: tuple[Server, Server], kubectl: Kubectl) -> dict[str, Target]:
    """By name, what no user's server and no build may reach."""

    def address(kind: str, name: str, path: str) -> str:
        return kubectl("get", kind, name, "-o", f"jsonpath={{{path}}}")

    def service(name: str) -> str:
        return address("service", name, ".spec.clusterIP")

    endpoint = json.loads(kubectl("get", "endpoints", "kubernetes", "-n", "default", "-o", "json"))
    return canaries | {
        "another user's server": (_pod_address(servers[1], kubectl), 8888),
        "the hub": (service("hub"), 8081),
        "the proxy's API": (service("proxy-api"), 8001),
        "the registry": (service("registry"), 5000),
        "the binder": (service("binder"), 80),
        "the Kubernetes API's address": (endpoint["subsets"][0]["addresses"][0]["ip"], API_PORT),
        "the kubelet": (endpoint["subsets"][0]["addresses"][0]["ip"], _kubelet_port(kubectl)),
        "kubernetes.default": ("kubernetes.default.svc.cluster.local", 443),
    }


@pytest.fixture
def unguarded(kubectl: Kubectl) -> Iterator[None]:
    """Without any NetworkPolicy."""
    with without_policies(kubectl):
        yield


def test_without_the_policies_a_server_reaches_all_of_it(
    servers: tuple[Server, Server], forbidden: dict[str, Target], unguarded: None
) -> None:
    wanted = list(forbidden.values())
    until(lambda: len(reached(servers[0], wanted)) == len(wanted), f"all of {forbidden} to be reached", timeout=30)


def test_with_them_it_reaches_none_of_it_and_the_public_web(
    servers: tuple[Server, Server], forbidden: dict[str, Target], public_host: Host
) -> None:
    public = [(public_host.address, port) for port in OPEN]
    wanted = [*forbidden.values(), *public]
    until(lambda: len(reached(servers[0], wanted)) <= len(public), "the policies to be in force again", timeout=30)
    assert reached(servers[0], wanted) == public


def test_a_build_reaches_no_more_than_the_registry_its_tokens_and_the_public_web(
    binder: Binder, repositories: Repositories, forbidden: dict[str, Target], public_host: Host, kubectl: Kubectl
) -> None:
    # What a build reads and stores goes through these, by a credential of its own. The binder's pages are none of them.
    tokens = kubectl("get", "service", "registry-token", "-o", "jsonpath={.spec.clusterIP}")
    opened = [(tokens, 80), forbidden["the registry"], *((public_host.address, port) for port in OPEN)]
    shut = [target for target in forbidden.values() if target not in opened]
    assert forbidden["the binder"] in shut
    told = probe_of_a_build(binder, repositories, "probe", [*shut, *opened])
    assert told == opened


def test_without_the_policies_a_build_reaches_all_of_it(
    binder: Binder, repositories: Repositories, forbidden: dict[str, Target], unguarded: None
) -> None:
    wanted = list(forbidden.values())
    assert probe_of_a_build(binder, repositories, "unguarded-probe", wanted) == wanted


def probe_of_a_build(binder: Binder, repositories: Repositories, name: str, targets: list[Target]) -> list[Target]:
    """Which of them a RUN step connects to."""
    dockerfile = (
        "FROM localhost/binderops/notebook\n"
        "COPY --chown=1000:1000 . /home/jovyan/\n"
        "RUN python3 /home/jovyan/probe.py > /home/jovyan/reached.txt\n"
    )
    probe = PROBE.format(targets=targets, echo=ECHO) + "print(answer)\n"
    server = binder.launch(git_spec(repositories.add(name, {"Dockerfile": dockerfile, "probe.py": probe})))
    found: list[Target] = ast.literal_eval(ast.literal_eval(server.run("open('reached.txt').read()")))
    return found


def test_a_server_holds_no_account_of_the_cluster(servers: tuple[Server, Server]) -> None:
    found = servers[0].run("import os\nos.path.exists('/var/run/secrets/kubernetes.io'), os.getuid(), os.geteuid()")
    assert found == "(False, 1000, 1000)"


def test_a_users_token_does_not_open_anothers_server(servers: tuple[Server, Server]) -> None:
    stranger = Server(servers[1].url, servers[0].token)
    with pytest.raises(Exception, match="403"):
        stranger.get("api/contents")
    assert "content" in servers[1].get("api/contents")


def test_a_page_of_another_site_cannot_use_a_visitors_cookie(servers: tuple[Server, Server]) -> None:
    """What a browser sends with it: the cookie, and the page's origin, which no script can change."""
    public = urlsplit(servers[0].url)
    base = f"http://127.0.0.1:{public.port}{public.path}"
    with httpx.Client(headers={"Host": public.netloc}, trust_env=False, timeout=30) as browser:
        logged_in = browser.get(f"{base}lab?token={servers[0].token}")
        cookie = "; ".join(value.partition(";")[0] for value in logged_in.headers.get_list("set-cookie"))
        paths = [value for value in logged_in.headers.get_list("set-cookie") if f"Path={public.path}" not in value]
        assert cookie and not paths, "a cookie for this server alone"

        def answers(origin: str) -> tuple[int, int, int]:
            headers = {"Cookie": cookie, "Origin": origin}
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            key = {"Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()}
            with browser.stream("GET", f"{base}api/events/subscribe", headers=headers | upgrade | key) as socket:
                opened = socket.status_code
            read = browser.get(f"{base}api/contents", headers=headers)
            if origin != own:
                assert read.headers.get("access-control-allow-origin", "") in {"", own}
            begun = browser.post(f"{base}api/terminals", headers=headers)
            return opened, read.status_code, begun.status_code

        own = f"http://{public.netloc}"
        assert answers(own) == (101, 200, 403), "and even there nothing begins without the page's own token"
        for origin in ("http://evil.example", "null", f"http://{public.netloc.removeprefix('hub.')}"):
            assert answers(origin) == (403, 404, 404), origin


def reached(server: Server, targets: list[Target]) -> list[Target]:
    """Which of them a kernel of this server connects to."""
    found: list[Target] = ast.literal_eval(server.run(PROBE.format(targets=targets, echo=ECHO) + "answer"))
    return found


def _kubelet_port(kubectl: Kubectl) -> int:
    path = "{.items[0].status.daemonEndpoints.kubeletEndpoint.Port}"
    return int(kubectl("get", "nodes", "-o", f"jsonpath={path}"))


def _pod_address(server: Server, kubectl: Kubectl) -> str:
    pods: Any = json.loads(kubectl("get", "pods", "-l", "component=singleuser-server", "-o", "json"))["items"]
    mine = [pod for pod in pods if pod["metadata"]["annotations"]["hub.jupyter.org/username"] == server.user]
    assert len(mine) == 1, [pod["metadata"]["name"] for pod in pods]
    address: str = mine[0]["status"]["podIP"]
    return address
