"""The scenarios of kubernetes-sigs/ingress-controller-conformance (features default_backend, host_rules, path_rules,
load_balancing, ingress_class), as one table over a target: apply objects, start echo servers, send requests.

A target is a parameter: the controller's program on loopback here, a deployment's pods in `tests/e2e/test_e2e_https`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
from tests.ingress.authority import Authority, secret
from tests.ingress.process import eventually

Object = dict[str, Any]
Answers = list[tuple[str, str, str | int]]  # method, URL, the Service that answers or the status


class Target(Protocol):
    """A place where Ingresses of class `nginx` are served, and what a test does there."""

    authority: Authority
    namespace: str
    addresses: list[Object]
    """What the status of an Ingress names that is served."""

    async def apply(self, obj: Object) -> Object:
        """Create or change an object in the target's namespace."""

    async def echo(self, service: str, count: int = 1) -> object:
        """A Service (port 8080, named http) of `count` servers that answer {"name": "SERVICE-WHICH"}, or of more."""

    async def send(self, url: str, method: str = "GET") -> httpx2.Response:
        """A request as if the URL's host were the target's address; https is verified against the authority."""

    async def address_of(self, ingress: str) -> list[Object]:
        """status.loadBalancer.ingress."""

    def log(self) -> str:
        """What the controller says, for a test that fails."""


@dataclass(frozen=True)
class Scenario:
    """What is applied, and what answers then. `absent`: the Ingress must not be served, so its status stays empty."""

    spec: Object
    answers: Answers
    services: dict[str, int] = field(default_factory=dict)
    certificate: tuple[str, ...] = ()
    absent: bool = False


def backend(service: str, port: int | str = 8080) -> Object:
    return {"service": {"name": service, "port": {"name" if isinstance(port, str) else "number": port}}}


def rule(host: str, *paths: tuple[str, str, str], port: int | str = 8080) -> Object:
    listed = [{"path": path, "pathType": kind, "backend": backend(name, port)} for path, kind, name in paths]
    return {"host": host, "http": {"paths": listed}}


def gets(host: str, table: dict[str, str | int]) -> Answers:
    return [("GET", f"http://{host}{path}", expected) for path, expected in table.items()]


HOST_RULES = {
    "ingressClassName": "nginx",
    "tls": [{"hosts": ["foo.bar.com"], "secretName": "conformance-tls"}],
    "rules": [
        rule("*.foo.com", ("/", "Prefix", "wildcard-foo-com")),
        rule("foo.bar.com", ("/", "Prefix", "foo-bar-com"), port="http"),
        rule("plain.bar.com", ("/", "Prefix", "plain-bar-com"), port="http"),
    ],
}
PATH_RULES = {
    "ingressClassName": "nginx",
    "rules": [
        rule("exact-path-rules", ("/foo", "Exact", "foo-exact")),
        rule(
            "prefix-path-rules",
            ("/foo", "Prefix", "foo-prefix"),
            ("/aaa/bbb", "Prefix", "aaa-slash-bbb-prefix"),
            ("/aaa", "Prefix", "aaa-prefix"),
        ),
        rule("mixed-path-rules", ("/foo", "Prefix", "foo-prefix"), ("/foo", "Exact", "foo-exact")),
        rule(
            "trailing-slash-path-rules",
            ("/aaa/bbb/", "Prefix", "aaa-slash-bbb-slash-prefix"),
            ("/foo/", "Exact", "foo-slash-exact"),
        ),
    ],
}
DEFAULT = {"ingressClassName": "nginx", "defaultBackend": backend("default-backend")}

SCENARIOS = {
    "default backend: an Ingress without rules gets all requests": Scenario(
        DEFAULT,
        [
            (method, f"http://{host}{path}", "default-backend")
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH")
            for host, path in (("my-host", "/"), ("my-host", "/sub"), ("some-host", "/a/b?c=d"))
        ],
        {"default-backend": 1},
    ),
    "host rules: TLS traffic reaches the host's backend, with its certificate": Scenario(
        HOST_RULES, [("GET", "https://foo.bar.com/", "foo-bar-com")], {"foo-bar-com": 1}, ("foo.bar.com",)
    ),
    "host rules: http of a host with TLS is sent to https": Scenario(
        HOST_RULES, [("GET", "http://foo.bar.com/", 308)], {"foo-bar-com": 1}, ("foo.bar.com",)
    ),
    "host rules: exact, wildcard of one label, and nothing else": Scenario(
        HOST_RULES,
        [
            ("GET", "http://plain.bar.com/", "plain-bar-com"),
            ("GET", "http://bar.foo.com/", "wildcard-foo-com"),
            ("GET", "http://subdomain.bar.com/", 404),
            ("GET", "http://baz.bar.foo.com/", 404),
            ("GET", "http://foo.com/", 404),
        ],
        {"plain-bar-com": 1, "wildcard-foo-com": 1},
        ("foo.bar.com",),
    ),
    "path rules: exact": Scenario(
        PATH_RULES,
        gets("exact-path-rules", {"/foo": "foo-exact", "/foo/": 404, "/FOO": 404, "/bar": 404, "/foo/bar": 404}),
        {"foo-exact": 1},
    ),
    "path rules: prefix, by elements, the longest first": Scenario(
        PATH_RULES,
        gets(
            "prefix-path-rules",
            {
                "/foo": "foo-prefix",
                "/foo/": "foo-prefix",
                "/foo/bar": "foo-prefix",
                "/foobar": 404,
                "/FOO": 404,
                "/aaa": "aaa-prefix",
                "/aaa/ccc": "aaa-prefix",
                "/aaa/bbbccc": "aaa-prefix",
                "/aaa/bbb": "aaa-slash-bbb-prefix",
                "/aaa/bbb/": "aaa-slash-bbb-prefix",
                "/aaa/bbb/ccc": "aaa-slash-bbb-prefix",
                "/": 404,
            },
        ),
        {"foo-prefix": 1, "aaa-prefix": 1, "aaa-slash-bbb-prefix": 1},
    ),
    "path rules: exact before prefix": Scenario(
        PATH_RULES,
        gets("mixed-path-rules", {"/foo": "foo-exact", "/foo/": "foo-prefix", "/foo/bar": "foo-prefix"}),
        {"foo-exact": 1, "foo-prefix": 1},
    ),
    "path rules: a trailing slash counts for exact, not for prefix": Scenario(
        PATH_RULES,
        gets(
            "trailing-slash-path-rules",
            {
                "/aaa/bbb": "aaa-slash-bbb-slash-prefix",
                "/aaa/bbb/": "aaa-slash-bbb-slash-prefix",
                "/aaa/bbb/ccc": "aaa-slash-bbb-slash-prefix",
                "/foo/": "foo-slash-exact",
                "/foo": 404,
            },
        ),
        {"aaa-slash-bbb-slash-prefix": 1, "foo-slash-exact": 1},
    ),
    "ingress class: another class's Ingress is left alone": Scenario(
        {"ingressClassName": "some-invalid-class-name", "rules": [rule("class.test", ("/", "Prefix", "class-test"))]},
        gets("class.test", {"/": 404}),
        {"class-test": 1},
        absent=True,
    ),
}


async def check(target: Target, scenario: Scenario) -> None:
    """Fails unless the target answers as the scenario says."""
    for service, count in scenario.services.items():
        await target.echo(service, count)
    await _apply(target, scenario)
    seen: Answers = []

    async def as_it_should() -> bool:
        seen[:] = [(method, url, _shown(await target.send(url, method))) for method, url, _ in scenario.answers]
        return seen == scenario.answers

    # Endpoints may be seen a moment after the Ingress that leads to them.
    await eventually(as_it_should, lambda: f"{seen}\nare not\n{scenario.answers}\n{target.log()}", seconds=5)


async def check_load_balancing(target: Target) -> None:
    """Fails unless all ten servers of a Service are reached in a hundred requests."""
    await target.echo("ten", 10)
    spec = {"ingressClassName": "nginx", "rules": [rule("load.test", ("/", "Prefix", "ten"))]}
    await _apply(target, Scenario(spec, gets("load.test", {"/": "ten"})))
    answers = Counter([(await target.send("http://load.test/")).json()["name"] for _ in range(100)])
    assert len(answers) == 10
    assert sum(answers.values()) == 100


async def _apply(target: Target, scenario: Scenario) -> None:
    if scenario.certificate:
        made = secret("conformance-tls", target.authority.issue(*scenario.certificate), namespace=target.namespace)
        del made["metadata"]["resourceVersion"]
        await target.apply({"apiVersion": "v1", "kind": "Secret", **made})
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "conformance"}}
    await target.apply({**ingress, "spec": scenario.spec})
    if scenario.absent:
        # What is not served leaves no trace to wait for; another Ingress made after it does.
        marker = {"ingressClassName": "nginx", "rules": [rule("marker.test", ("/", "Prefix", "nobody"))]}
        await target.apply({**ingress, "metadata": {"name": "marker"}, "spec": marker})
        await eventually(lambda: _has_address(target, "marker"), target.log)
        assert await target.address_of("conformance") == []
        return
    await eventually(lambda: _has_address(target, "conformance"), target.log)


async def _has_address(target: Target, name: str) -> bool:
    return await target.address_of(name) == target.addresses


def _shown(answer: httpx2.Response) -> str | int:
    return str(answer.json()["name"]).rpartition("-")[0] if answer.status_code == 200 else answer.status_code
