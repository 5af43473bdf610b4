"""Nothing of an Ingress reaches nginx.conf but as a parsed value, and what is refused is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binderops.errors import ProxyConfigurationError
from binderops.ingress.annotations import DEFAULT_OPTIONS, PREFIXES, SUPPORTED, parse_annotations
from binderops.ingress.backends import BackendTable
from binderops.ingress.configuration import Settings, quote, render
from binderops.ingress.routing import build_routing

ATTACKS = [
    "60s; return 200 owned",
    "60\n}\nserver { listen 1; }",
    "1m}{",
    "#",
    '"',
    "$(id)",
    "10.0.0.0/8; allow all",
    "-1",
    "1" * 40,
    "",
]


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("attack", ATTACKS)
def test_annotation_values_that_are_not_of_their_type_are_refused_by_name(name: str, attack: str) -> None:
    key = PREFIXES[0] + name
    options, refusals = parse_annotations({key: attack})
    if name == "whitelist-source-range" and attack == "":
        assert options == DEFAULT_OPTIONS
        return
    assert options == replace(DEFAULT_OPTIONS, closed=name == "whitelist-source-range")
    assert [refusal.annotation for refusal in refusals] == [key]


@pytest.mark.parametrize(
    "name", ["server-snippet", "configuration-snippet", "auth-url", "mirror-target", "server-alias", "rewrite-target"]
)
def test_dangerous_annotations_are_named(name: str) -> None:
    options, refusals = parse_annotations({PREFIXES[0] + name: "x"})
    assert options == replace(DEFAULT_OPTIONS, closed=name.startswith("auth-"))
    assert refusals[0].annotation.endswith(name)


def test_both_prefixes_are_read_and_the_newer_one_wins() -> None:
    options, refusals = parse_annotations(
        {"ingress.kubernetes.io/proxy-body-size": "8m", "nginx.ingress.kubernetes.io/proxy-body-size": "16m"}
    )
    assert (options.proxy_body_size, refusals) == (16, [])


@pytest.mark.parametrize(
    "path", ["/a;b{", '/"', "/a b", "/a\nb", "/../x", "relative", "/(.*)|x", "/x/./y", "/#", "/" * 2000]
)
def test_paths_that_nginx_could_misread_are_refused(path: str, make: Any) -> None:
    ingress = make("ingress")("evil", make("rule")("h.test", (path, "Prefix", "a")))
    routing = build_routing([ingress], BackendTable([], []), class_name="nginx")
    assert [found.reason for found in routing.complaints] == ["InvalidPath"]
    assert not routing.hosts["h.test"].locations


@pytest.mark.parametrize("host", ["a b", "a;b", "*", "*.*.x", "h.test\n", "~^.*$", 'h"', "a" * 300, "-x", "a..b"])
def test_hosts_that_are_not_names_are_refused(host: str, make: Any) -> None:
    ingress = make("ingress")("evil", make("rule")(host, ("/", "Prefix", "a")))
    routing = build_routing([ingress], BackendTable([], []), class_name="nginx")
    assert [found.reason for found in routing.complaints] == ["InvalidHost"]
    assert routing.hosts == {}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    host=st.text(max_size=40), path=st.text(max_size=40), value=st.text(max_size=40), name=st.sampled_from(SUPPORTED)
)
def test_whatever_stands_in_an_ingress_the_configuration_holds_no_directive_of_it(
    tmp_path_factory: Any, make: Any, host: str, path: str, value: str, name: str
) -> None:
    marked = f"{path}evil_marker;"
    rules = [
        make("rule")(f"{host}evil_marker;", (f"/{path}", "Exact", "a")),
        make("rule")("ok.test", (marked, "Prefix", "a")),
    ]
    ingress = make("ingress")("evil", *rules, annotations={PREFIXES[0] + name: f"{value}evil_marker"})
    routing = build_routing([ingress], BackendTable([], []), class_name="nginx")
    assert "evil_marker" not in render(routing, Settings(tmp_path_factory.getbasetemp()))


@given(text=st.text(max_size=60))
def test_quoting_keeps_a_value_one_word_or_refuses_it(text: str) -> None:
    try:
        quoted = quote(text)
    except ValueError:
        return
    assert not set(quoted[1:-1]) & set("\"'\\;{}# \t\r\n$")


async def test_the_last_good_configuration_stays_when_nginx_refuses_one(front: Any, make: Any) -> None:
    async with make("echo")("a") as echo:
        ingress = make("ingress")("one", make("rule")("a.test", ("/", "Prefix", "a")))
        await front.serve([ingress], [make("service")("a", echo.port)])
        with pytest.raises(ProxyConfigurationError, match="last good one stays"):
            await front.proxy.apply("http { nonsense; }")
        assert await front.served_by("a.test") == "a"
        assert "a.test" in front.proxy.file.read_text()
