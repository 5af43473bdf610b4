"""The attacks on ingress-nginx of 2025 and 2026 (IngressNightmare and after), one test each: none has a way in here."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.ingress.authority import Authority, secret

from binderops.ingress.annotations import PREFIXES
from binderops.ingress.backends import BackendTable
from binderops.ingress.certificates import pair_of
from binderops.ingress.configuration import Settings, render
from binderops.ingress.keystore import KeyStore
from binderops.ingress.proxy import Proxy
from binderops.ingress.routing import build_routing, ours
from binderops.ingress.tls import Certificates

MARKER = "evil_marker"
INJECTION = f"x;\n}}\n}}\nssl_engine /proc/1/fd/9; # {MARKER}"

ANNOTATIONS = {
    "CVE-2025-24514": "auth-url",
    "CVE-2025-1097": "auth-tls-match-cn",
    "CVE-2025-1098, target": "mirror-target",
    "CVE-2025-1098, host": "mirror-host",
    "CVE-2025-24513": "auth-secret",
    "CVE-2026-3288": "rewrite-target",
    **{
        name: name
        for name in (
            "server-snippet",
            "configuration-snippet",
            "auth-snippet",
            "stream-snippet",
            "modsecurity-snippet",
            "auth-signin",
            "server-alias",
            "upstream-hash-by",
            "proxy-ssl-name",
            "proxy-ssl-secret",
            "auth-tls-secret",
            "use-regex",
        )
    },
}


def rendered(tmp_path: Path, *ingresses: Any, services: Any = ()) -> tuple[str, list[tuple[str, str]]]:
    """nginx.conf for these Ingresses, and the complaints."""
    backends = BackendTable([entry[0] for entry in services], [entry[1] for entry in services])
    routing = build_routing(ingresses, backends, class_name="nginx")
    tls, complaints = Certificates(KeyStore(tmp_path / "certificates")).choose(ours(ingresses, class_name="nginx"), {})
    text = render(routing, Settings(tmp_path, public_tls_port=443), tls)
    return text, [(found.reason, found.message) for found in (*routing.complaints, *complaints)]


@pytest.mark.parametrize("attack", ANNOTATIONS)
def test_annotations_that_carried_an_injection_are_named_and_have_no_effect(
    tmp_path: Path, make: Any, attack: str
) -> None:
    name = ANNOTATIONS[attack]
    rule = make("rule")("a.test", ("/", "Prefix", "a"))
    ingress = make("ingress")("evil", rule, annotations={PREFIXES[0] + name: INJECTION})
    text, complaints = rendered(tmp_path, ingress)
    assert MARKER not in text
    assert any(reason == "UnsupportedAnnotation" and name in message for reason, message in complaints)
    assert ("deny all;" in text) == name.startswith("auth-"), "what should have guarded it closes it instead"


def test_the_uid_which_mirror_annotations_once_wrote_raw_is_never_written(tmp_path: Path, make: Any) -> None:
    ingress = make("ingress")("evil", make("rule")("a.test", ("/", "Prefix", "a")))
    ingress["metadata"]["uid"] = INJECTION
    assert MARKER not in rendered(tmp_path, ingress)[0]


@pytest.mark.parametrize("kind", ["Exact", "Prefix", "ImplementationSpecific"])
def test_paths_which_rewrites_once_wrote_raw_are_refused(tmp_path: Path, make: Any, kind: str) -> None:
    """CVE-2026-24512."""
    text, complaints = rendered(tmp_path, make("ingress")("evil", make("rule")("a.test", (f"/{INJECTION}", kind, "a"))))
    assert MARKER not in text
    assert [reason for reason, _ in complaints] == ["InvalidPath"]


def test_hosts_of_rules_and_of_tls_are_refused(tmp_path: Path, make: Any) -> None:
    rule = make("rule")(INJECTION, ("/", "Prefix", "a"))
    text, complaints = rendered(tmp_path, make("ingress")("evil", rule, tls=[{"hosts": [INJECTION]}]))
    assert MARKER not in text
    assert [reason for reason, _ in complaints] == ["InvalidHost", "InvalidHost"]


def test_names_of_services_ports_and_secrets_are_never_written(tmp_path: Path, make: Any) -> None:
    rule = make("rule")("a.test", ("/", "Prefix", INJECTION))
    rule["http"]["paths"][0]["backend"]["service"]["port"] = {"name": INJECTION}
    tls = [{"hosts": ["a.test"], "secretName": f"../../{INJECTION}"}]
    text, complaints = rendered(tmp_path, make("ingress")("evil", rule, tls=tls))
    assert MARKER not in text
    assert {reason for reason, _ in complaints} == {"BackendNotFound", "CertificateNotFound"}


@pytest.mark.parametrize("address", [f"fe80::1%{INJECTION}", INJECTION, "example.org", "10.0.0.1; }"])
def test_endpoints_that_are_no_plain_addresses_are_left_out(tmp_path: Path, make: Any, address: str) -> None:
    service, slices = make("service")("a", 80)
    slices["endpoints"][0]["addresses"] = [address, "192.0.2.7"]
    ingress = make("ingress")("one", make("rule")("a.test", ("/", "Prefix", "a")))
    text, _ = rendered(tmp_path, ingress, services=[(service, slices)])
    assert re.findall(r"^    server (\S+)", text, flags=re.M) == ["192.0.2.7:80"]


def test_a_secret_cannot_name_an_engine_or_a_file(authority: Authority) -> None:
    chain, _ = authority.issue("a.test")
    for key in (b"engine:evil:/tmp/evil.so", b"data:x", b"store:/proc/self/environ", b"/etc/ssl/private/other.key"):
        found = secret("s", (chain, key))
        with pytest.raises(ValueError, match="not a private key in PEM"):
            pair_of(found)
    found = secret("s", (chain, b""))
    found["data"]["tls.key"] = base64.b64encode(b"../../evil").decode() + "!"
    with pytest.raises(ValueError, match="not base64"):
        pair_of(found)


def test_there_is_no_admission_webhook_to_ask_from_any_pod(stock_programs: Any) -> None:
    """CVE-2025-1974."""
    chart = Path(__file__).parents[2] / "charts/nginx-ingress"
    command = [str(stock_programs.helm), "template", "r", str(chart), "--set", "global.images.platform.name=x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "kind: Deployment" in done.stdout
    assert "Webhook" not in done.stdout


async def test_nginx_and_its_test_see_no_environment_of_the_controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_TOKEN", MARKER)
    recorder = tmp_path / "nginx"
    recorder.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n")
    recorder.chmod(0o755)
    await Proxy(tmp_path, health_port=1, program=str(recorder)).test("")
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert seen <= {"PATH", "PWD", "SHLVL", "_", "OLDPWD"}


@pytest.mark.parametrize("names", [("a-b", "c", "a", "b-c"), ("a", "b", "a", "c")])
def test_two_ingresses_never_share_a_limit(tmp_path: Path, make: Any, names: tuple[str, ...]) -> None:
    """Zones were named by namespace and name joined: one could take another's away, and all of the configuration."""
    limits = ({"limit-rps": "3"}, {"limit-connections": "4"})
    ingresses = []
    for number, limit in enumerate(limits):
        rule = make("rule")(f"h{number}.test", ("/", "Prefix", "a"))
        found = make("ingress")("x", rule, annotations={PREFIXES[0] + key: value for key, value in limit.items()})
        found["metadata"] |= {"namespace": names[2 * number], "name": names[2 * number + 1]}
        ingresses.append(found)
    text, _ = rendered(tmp_path, *ingresses)
    zones = dict(re.findall(r"zone=((?:rate|conn)_\w+):1m()", text))
    used = set(re.findall(r"limit_req zone=(\w+)", text)) | set(re.findall(r"limit_conn (conn_\w+)", text))
    assert set(zones) == used
    assert len(used) == 2
