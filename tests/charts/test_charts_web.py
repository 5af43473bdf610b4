"""The redirector, the badge host and the default backend, over HTTP: their rendered nginx.conf in a real nginx."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
from tests.charts.conftest import ROOT, Rendered, at
from tests.programs import program

REDIRECTS = [
    {"type": "host", "host": {"from": "old.example.org", "to": "new.example.org"}},
    {"type": "host", "host": {"from": "moved.example.org", "to": "new.example.org:8443"}, "permanent": True},
    {"type": "host", "host": {"from": "beta"}},
    {"type": "url", "host": {"from": "docs.example.org", "to": "docs.example.net/start?a=1&b=2"}, "scheme": "http"},
    {"type": "url", "host": {"from": "page.example.org", "to": "https://x.example/p(1)/#part"}, "permanent": True},
]

Ask = Callable[[str, str], httpx.Response]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(config: str, folder: Path) -> Iterator[Ask]:
    """A running nginx with this configuration, its port and paths exchanged for free ones; ask(host, path)."""
    nginx = program("nginx")
    port = free_port()
    config = config.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    config = config.replace("/srv/static", str(folder / "static"))
    if os.geteuid() == 0:
        config = f"user root;\n{config}"
    file = folder / "nginx.conf"
    file.write_text(config)
    process = subprocess.Popen(
        [nginx, "-e", "stderr", "-c", str(file), "-g", "daemon off;"], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "nginx did not listen within 10 seconds"
            time.sleep(0.02)
        with httpx.Client(trust_env=False, timeout=10) as client:
            yield lambda host, path: client.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def redirector(render: Any, tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> Ask:
    objects: Rendered = render(at("redirector", {"enabled": True, "redirects": REDIRECTS}))
    config = objects["ConfigMap", "redirector-config"]["data"]["nginx.conf"]
    return stack.enter_context(serving(config, tmp_path_factory.mktemp("redirector")))


@pytest.fixture(scope="module")
def badges(local: Rendered, tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> Ask:
    folder = tmp_path_factory.mktemp("static")
    (folder / "static").mkdir()
    for name, text in local["ConfigMap", "static-files"]["data"].items():
        (folder / "static" / name).write_text(text)
    return stack.enter_context(serving(local["ConfigMap", "static-config"]["data"]["nginx.conf"], folder))


@pytest.fixture(scope="module")
def default_backend(local: Rendered, tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> Ask:
    config = local["ConfigMap", "binder-nginx-ingress-default-backend"]["data"]["nginx.conf"]
    return stack.enter_context(serving(config, tmp_path_factory.mktemp("default-backend")))


@pytest.mark.parametrize(
    ("host", "path", "status", "location"),
    [
        (
            "old.example.org",
            "/v2/gh/a/b/HEAD?urlpath=lab%2Ftree",
            302,
            "https://new.example.org/v2/gh/a/b/HEAD?urlpath=lab%2Ftree",
        ),
        ("old.example.org", "/a%2Fb/c%20d", 302, "https://new.example.org/a%2Fb/c%20d"),
        ("OLD.example.org", "/", 302, "https://new.example.org/"),
        ("moved.example.org", "/x", 301, "https://new.example.org:8443/x"),
        ("beta.binder.localhost", "/x?y", 302, "http://binder.localhost:8080/x?y"),
        ("docs.example.org", "/any/path?c=3", 302, "http://docs.example.net/start?a=1&b=2"),
        ("page.example.org", "/", 301, "https://x.example/p(1)/#part"),
    ],
)
def test_redirects(redirector: Ask, host: str, path: str, status: int, location: str) -> None:
    answer = redirector(host, path)
    assert (answer.status_code, answer.headers["location"]) == (status, location)


def test_a_host_without_a_rule_is_unknown(redirector: Ask) -> None:
    assert redirector("unknown.example.org", "/").status_code == 404


def test_one_ingress_for_all_hosts(render: Any) -> None:
    values = {
        "enabled": True,
        "redirects": REDIRECTS,
        "ingress": {"annotations": {"a": "b"}, "tls": {"secretName": "t"}},
    }
    ingress = render(at("redirector", values))["Ingress", "redirector"]
    hosts = ["old.example.org", "moved.example.org", "beta.binder.localhost", "docs.example.org", "page.example.org"]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == hosts
    assert ingress["spec"]["tls"] == [{"secretName": "t", "hosts": hosts}]
    assert ingress["metadata"]["annotations"] == {"a": "b", "kubernetes.io/tls-acme": "true"}


@pytest.mark.parametrize(
    "redirect",
    [
        {"type": "host", "host": {"from": "a.example; return 200 x", "to": "b.example"}},
        {"type": "host", "host": {"from": "a.example\n}", "to": "b.example"}},
        {"type": "host", "host": {"from": "*.example.org", "to": "b.example"}},
        {"type": "host", "host": {"from": "~^a", "to": "b.example"}},
        {"type": "host", "host": {"from": "", "to": "b.example"}},
        {"type": "host", "host": {"from": "a.example", "to": "b.example/path"}},
        {"type": "host", "host": {"from": "a.example", "to": 'b.example"; return 200 "x'}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/$request_uri"}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/\\"}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/ x"}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/\r\nSet-Cookie: a"}},
        {"type": "url", "host": {"from": "a.example", "to": "javascript:alert(1)"}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/{x}"}},
        {"type": "url", "host": {"from": "a.example", "to": "b.example/';"}},
        {"type": "host", "host": {"from": "a.example", "to": "b.example"}, "scheme": "ftp"},
        {"type": "raw", "host": {"from": "a.example", "to": "b.example"}},
        {"type": "host", "host": {"from": "a.example", "to": "b.example"}, "extra": "x"},
        {"type": "host"},
    ],
    ids=str,
)
def test_hostile_redirects_are_refused(render: Any, redirect: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="/redirector/redirects/0"):
        render(at("redirector", {"enabled": True, "redirects": [redirect]}))


def test_a_host_twice_is_refused(render: Any) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="a host is redirected twice"):
        render(at("redirector", {"enabled": True, "redirects": [REDIRECTS[0], REDIRECTS[0]]}))


@pytest.mark.parametrize(("name", "size"), [("badge.svg", ("92", "20")), ("badge_logo.svg", ("109", "20"))])
def test_badges(badges: Ask, name: str, size: tuple[str, str]) -> None:
    answer = badges("static.binder.localhost", f"/{name}?seen=twice")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "set-cookie" not in answer.headers
    image = ET.fromstring(answer.text)
    assert (image.get("width"), image.get("height")) == size
    assert " ".join(image.itertext()).split() == ["launch", "binder", "launch", "binder"]


@pytest.mark.parametrize(
    "path", ["/", "/nginx.conf", "/../nginx.conf", "/%2e%2e/nginx.conf", "/unknown.svg", "/badge.svg/x"]
)
def test_the_badge_host_has_nothing_else(badges: Ask, path: str) -> None:
    answer = badges("static.binder.localhost", path)
    assert answer.status_code in {400, 404}
    assert "cache-control" not in answer.headers


def test_default_backend(default_backend: Ask) -> None:
    assert default_backend("unknown.example.org", "/x").status_code == 404
    assert default_backend("unknown.example.org", "/healthz").status_code == 200


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"global": {"domain": "binder.example", "publicPort": 8080}}, "http://static.binder.example:8080/"),
        (
            {"global": {"domain": "binder.example"}, "static": {"ingress": {"hosts": ["b.example"]}}},
            "http://b.example/",
        ),
        ({"global": {"domain": "binder.example"}, "static": {"enabled": False}}, None),
        ({"global": {"domain": "binder.example", "publicTlsPort": 443}}, None),
        (
            {
                "global": {"domain": "binder.example", "publicTlsPort": 8443},
                "static": {"ingress": {"tls": {"enabled": True}}},
            },
            "https://static.binder.example:8443/",
        ),
    ],
)
def test_the_binder_is_told_where_badges_are(render: Any, values: dict[str, Any], url: str | None) -> None:
    """A page that came by https shows no picture by http: then the binder's own are used."""
    told = render(values, environment=False).get(("ConfigMap", "binder-badges"))
    assert (told["data"]["url"] if told else None) == url


def test_there_is_one_drawing_of_each_badge() -> None:
    for name in ("badge.svg", "badge_logo.svg"):
        binders = ROOT / "src/binderops/binder/web/static/images" / name
        assert (ROOT / "mybinder/files/static" / name).read_bytes() == binders.read_bytes()
