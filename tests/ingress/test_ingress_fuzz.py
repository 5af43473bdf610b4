"""Hosts, paths, annotations and addresses of all kinds: whatever is rendered, nginx accepts, and holds no word of them.

500 cases here; `make fuzz-ingress` tries 10,000 (BINDEROPS_FUZZ_CASES).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binderops.ingress.annotations import PREFIXES, SUPPORTED
from binderops.ingress.backends import BackendTable
from binderops.ingress.configuration import Settings, render
from binderops.ingress.keystore import KeyStore
from binderops.ingress.routing import build_routing, is_host
from binderops.ingress.tls import Certificates

CASES = int(os.environ.get("BINDEROPS_FUZZ_CASES", "500"))
TEST_SECONDS = 30

# The first words of everything that our templates write; a value that broke out would add another.
_WORDS = """
    daemon worker_processes worker_shutdown_timeout pid error_log events worker_connections http access_log
    server_tokens merge_slashes default_type server_names_hash_bucket_size server_names_hash_max_size
    variables_hash_max_size large_client_header_buffers client_header_timeout client_body_timeout
    keepalive_timeout reset_timedout_connection client_body_temp_path proxy_temp_path fastcgi_temp_path
    uwsgi_temp_path scgi_temp_path map default on proxy_http_version proxy_set_header proxy_redirect
    proxy_next_upstream proxy_next_upstream_tries upstream server keepalive limit_conn_zone limit_req_zone
    ssl_protocols ssl_ciphers ssl_ecdh_curve ssl_prefer_server_ciphers ssl_session_cache ssl_session_timeout
    ssl_session_tickets ssl_certificate ssl_certificate_key error_page listen server_name location if return
    add_header proxy_hide_header allow deny limit_conn limit_req client_max_body_size proxy_connect_timeout
    proxy_read_timeout proxy_send_timeout proxy_buffering proxy_request_buffering proxy_pass stub_status
"""
DIRECTIVES = set(_WORDS.split())
_TOKEN = re.compile(r"""\s+|#[^\n]*|([{};])|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|((?:\$\{\w+\}|[^\s{};])+)""")

hostile = st.sampled_from(
    ["; evil;", "}", "{", "\n", '"', "'", "\\", "$host", "${x}", "#", " ", "\x00", "é", "%00", "/../"]
)
label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
names = st.lists(label, min_size=1, max_size=8).map(".".join)
hosts = st.one_of(
    names, names.map("*.{}".format), names.map(str.upper), st.builds("{}{}".format, names, hostile), st.text()
)
segments = st.text(alphabet="abcXYZ09-._~!$&()*+,=:@%2F", max_size=12)
clean_paths = st.lists(segments, max_size=5).map(lambda parts: "/" + "/".join(parts))
paths = st.one_of(clean_paths, st.builds("{}{}".format, clean_paths, hostile), st.text())
kinds = st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"])
values = st.one_of(
    st.sampled_from(
        ["true", "off", "0", "1", "65535", "65536", "24h", "64g", "10.0.0.0/8, ::1/128", "HTTP", "fe80::1%x;"]
    ),
    st.integers(min_value=-5, max_value=10**13).map(str),
    st.builds("{}{}".format, st.sampled_from(["60", "1m", "true", "10.0.0.1"]), hostile),
    st.text(max_size=20),
)
keys = st.one_of(st.sampled_from(SUPPORTED), st.sampled_from(["server-snippet", "auth-url", "x"]), st.text(max_size=10))
noted = st.dictionaries(st.builds("{}{}".format, st.sampled_from(PREFIXES), keys), values, max_size=6)
rules = st.tuples(hosts, st.lists(st.tuples(paths, kinds, st.sampled_from(["a", "empty", "gone"])), max_size=4))
addresses = st.lists(st.one_of(st.ip_addresses().map(str), st.sampled_from(["fe80::1%a;b", "x.test", ""])), max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Certificates:
    return Certificates(KeyStore(folder / "certificates"))


@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    found=st.lists(st.tuples(st.lists(rules, max_size=3), noted, st.lists(hosts, max_size=3)), max_size=3),
    endpoints=addresses,
)
def test_what_is_rendered_is_accepted_and_holds_nothing_unquoted(
    folder: Path, certificates: Certificates, make: Any, found: Any, endpoints: list[str]
) -> None:
    ingresses = [
        make("ingress")(
            f"i{number}",
            *(make("rule")(host, *listed) for host, listed in ruled),
            annotations=chosen,
            tls=[{"hosts": named, "secretName": "s"}],
        )
        for number, (ruled, chosen, named) in enumerate(found)
    ]
    service, slices = make("service")("a", 80)
    slices["endpoints"][0]["addresses"] = endpoints
    tables = [(service, slices), make("service")("empty")]
    routing = build_routing(
        ingresses, BackendTable([entry[0] for entry in tables], [entry[1] for entry in tables]), class_name="nginx"
    )
    tls, _ = certificates.choose(ingresses, {})
    text = render(routing, Settings(folder, http_port=18080, https_port=18443, public_tls_port=443), tls)
    assert set(_directives(text)) <= DIRECTIVES
    _accepted(folder, text)
    invalid = {found.ingress for found in routing.complaints if found.reason == "InvalidHost"}
    for ingress in ingresses:
        hosts = [rule["host"].lower() for rule in ingress["spec"]["rules"]]
        assert all(host in routing.hosts for host in hosts if not host or is_host(host))
        named = (ingress["metadata"]["namespace"], ingress["metadata"]["name"])
        assert (named in invalid) == any(host and not is_host(host) for host in hosts), "the offender is named"


def _directives(text: str) -> Iterator[str]:
    """The first word of each statement, by nginx's own grammar; the rows of maps count by their first word, too."""
    position, first, depth, in_map = 0, True, 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, text[position : position + 40]
        position = match.end()
        mark, quoted, word = match.groups()
        if mark == "{":
            depth += 1
        elif mark == "}":
            depth, in_map = depth - 1, False
            assert depth >= 0
        if mark:
            first = True
        elif (word or quoted) and first:
            if not (quoted and in_map):
                yield word or quoted
            in_map, first = in_map or word == "map", False
    assert depth == 0


def _accepted(folder: Path, text: str) -> None:
    file = folder / "nginx.conf"
    file.write_text(text, encoding="utf-8")
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program is not None, "nginx is missing: scripts/system-packages --tests installs it"
    command = [program, "-t", "-q", "-c", str(file), "-p", str(folder), "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
