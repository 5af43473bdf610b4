"""ACME by pods: what docs/operate/certificates.md tells an operator to write, against a Pebble that the test starts.

Pebble is a host at a public address; it comes to port 80 of the deployment, and its names are those of its own DNS
server. The values are the page's own; only domain, directory and the port of https are the test's.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from tests.e2e.conftest import NAMESPACE, ROOT, RUN, STATE, Deployed, make_repository
from tests.e2e.networks import Host, until
from tests.lego.pebble import Pebble, build_programs

from binderops.authorities import SYSTEM_BUNDLE
from binderops.images.machine import detect_package_settings
from binderops.kube import certificates as names
from binderops.lego.pairs import KeyKind, chain_pem, key_pem, self_signed

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.timeout(900)]

NAME, DOMAIN, PORT, TLS_PORT = "acme", "acme.localhost", 80, 18543
PAGE = ROOT / "docs/operate/certificates.md"
PROJECT = f"""\
chart: mybinder
images: {{platform: [global.images.platform], build: [global.images.build], notebook: [global.images.notebook]}}
environments:
  {NAME}:
    target: {{node: {{name: {NAME}, apiPort: 16447, hostAddresses: ["127.0.0.1", "{{gateway}}"]}}}}
    layers: [config/local.yaml, config/{NAME}.yaml]
"""
HOSTS = {
    "kubelego-tls-binder-mybinder": DOMAIN,
    "kubelego-tls-hub": f"hub.{DOMAIN}",
    "kubelego-tls-redirector": f"old.{DOMAIN}",
    "kubelego-tls-static": f"static.{DOMAIN}",
}


@dataclass(frozen=True)
class Ordering(Deployed):
    """A deployment whose certificates are ordered; its operator trusts the CA, as one in a network of its own does."""

    pebble: Pebble
    kubectl_program: Path

    @property
    def kubeconfig(self) -> Path:
        return STATE / "nodes" / NAME / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "SSL_CERT_FILE": str(self.root / "authorities.pem")}

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """The stock kubectl in the release's namespace; what it prints."""
        command = [str(self.kubectl_program), "--kubeconfig", str(self.kubeconfig), "-n", NAMESPACE, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}\n{done.stdout}"
        return done.stdout

    def objects(self, kind: str, **labels: str) -> list[dict[str, Any]]:
        """Objects that bear these labels, by their names in `kube.certificates`."""
        selector = ",".join(f"{getattr(names, key)}={value}" for key, value in labels.items())
        return list(json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"])

    def secret(self, name: str) -> dict[str, Any]:
        """A Secret, to its last field."""
        return dict(json.loads(self.kubectl("get", "secret", name, "-o", "json")))

    def served(self, host: str) -> x509.Certificate:
        """What a handshake shows whose client trusts the CA's root, and nobody else."""
        context = ssl.create_default_context(cadata=chain_pem([self.pebble.root()]))
        with (
            socket.create_connection(("127.0.0.1", TLS_PORT), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=host) as secure,
        ):
            return x509.load_der_x509_certificate(secure.getpeercert(True) or b"")

    def set_values(self, values: dict[str, Any]) -> None:
        """The environment's own layer."""
        (self.root / f"config/{NAME}.yaml").write_text(yaml.safe_dump(values))


def values_of_the_page() -> dict[str, Any]:
    """The page's first block, which is what it tells an operator to write."""
    block = re.search(r"(?:^    .*\n)+", PAGE.read_text(), flags=re.M)
    assert block is not None, f"{PAGE} has no block of values"
    found: dict[str, Any] = yaml.safe_load(block[0])
    return found


def values_for(pebble: Pebble) -> dict[str, Any]:
    """The page's values, with the test's domain, directory and port; and old names, so that each chart has a host."""
    values = values_of_the_page()
    assert values["global"]["publicPort"] == PORT, "where CAs come to"
    values["global"] |= {"domain": DOMAIN, "publicTlsPort": TLS_PORT}
    values["kube-lego"]["config"]["LEGO_URL"] = pebble.directory
    values["redirector"] |= {"enabled": True, "redirects": [{"type": "host", "host": {"from": "old"}}]}
    return values


@pytest.fixture(scope="module")
def pebble(public_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """At a public address; each proof takes a second or three, so that something is under way."""
    build_programs()
    made = Pebble(
        tmp_path_factory.mktemp("pebble"),
        http_port=PORT,
        address=public_host.address,
        hosts_at=public_host.gateway,
        within=("ip", "netns", "exec", public_host.name),
    )
    try:
        made.start(AUTHZREUSE="0", VA_NOSLEEP="", VA_SLEEPTIME="4")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def ordering(
    deployed: Deployed,
    pebble: Pebble,
    public_host: Host,
    stock_programs: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ordering]:
    """Up, and so proven by a launch over https; its images are those of the other deployment."""
    root = make_repository(tmp_path_factory.mktemp("ordering"))
    (root / "binderops.yaml").write_text(PROJECT.replace("{gateway}", public_host.gateway))
    known = detect_package_settings().ca_bundle or SYSTEM_BUNDLE
    (root / "authorities.pem").write_text(known.read_text() + pebble.ca.read_text() + chain_pem([pebble.root()]))
    found = Ordering(root, pebble, stock_programs.kubectl)
    found.set_values(values_for(pebble))
    try:
        up = found.run("up", NAME, timeout=600)
        assert up.returncode == 0, f"{up.stdout}\n{up.stderr}\n{pebble.log()[-4000:]}"
        yield found
    finally:
        done = found.run("purge", NAME)
        assert done.returncode == 0, done.stderr
        assert not (RUN / NAME).exists()


def test_each_name_has_a_certificate_of_the_ca_and_the_proof_went_through_https(ordering: Ordering) -> None:
    told = ordering.json("certificates", NAME)
    assert told["good"]
    assert {found["secret"]: found["names"] for found in told["certificates"]} == {
        secret: [host] for secret, host in HOSTS.items()
    }
    for found in told["certificates"]:
        assert (found["state"], found["issuer"], found["last_error"]) == ("valid", "default", None)
    for host in HOSTS.values():
        shown = ordering.served(host).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert shown.get_values_for_type(x509.DNSName) == [host]
    (record,) = ordering.json("ledger", NAME)["records"]
    assert record["verdict"] == "pass"
    assert ordering.json("status", NAME)["environments"][0]["binder_url"] == f"https://{DOMAIN}:{TLS_PORT}/"


def test_the_ca_came_to_port_80_and_nothing_of_the_orders_is_left(ordering: Ordering) -> None:
    for host in HOSTS.values():
        assert re.search(
            rf"Attempting to validate w/ HTTP: http://{re.escape(host)}(:80)?/\.well", ordering.pebble.log()
        )
    (account,) = ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="account")
    assert account["metadata"]["name"] == "kube-lego-account"
    assert account["metadata"]["annotations"][names.DIRECTORY] == ordering.pebble.directory
    assert ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="order") == []
    assert ordering.objects("ingress,service,endpointslice", COMPONENT="solver") == []


def test_a_pod_that_is_killed_in_the_middle_of_a_renewal_is_followed_by_one_that_goes_on(ordering: Ordering) -> None:
    secret, host = next(iter(HOSTS.items()))
    before = ordering.served(host)
    (pod,) = json.loads(ordering.kubectl("get", "pods", "-l", "app=kube-lego", "-o", "json"))["items"]
    ordering.kubectl("annotate", "secret", secret, "--overwrite", f"{names.RENEW_AT}=2000-01-01T00:00:00Z")

    def order_is_placed() -> bool:
        orders = ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="order")
        return any(names.ORDER in order["metadata"].get("annotations", {}) for order in orders)

    until(order_is_placed, "an order to be under way")
    ordering.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    # No handshake fails meanwhile: `served` verifies what it is shown.
    # All that was shown is kept: while nginx reloads, a worker of before may answer once more.
    shown: list[x509.Certificate] = []

    def is_new() -> bool:
        shown.append(ordering.served(host))
        return shown[-1].serial_number != before.serial_number

    until(is_new, "the new certificate", timeout=120)
    after = shown[-1]
    assert after.public_key() != before.public_key(), "each renewal has a key of its own"
    assert len(re.findall(r"There are now \d+ accounts", ordering.pebble.log())) == 1
    assert len(ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="account")) == 1
    (other,) = json.loads(ordering.kubectl("get", "pods", "-l", "app=kube-lego", "-o", "json"))["items"]
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]
    until(
        lambda: ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="order") == [], "the order to be gone"
    )
    assert ordering.objects("ingress,service,endpointslice", COMPONENT="solver") == []


def as_cert_manager_writes_it(secret: str, host: str) -> dict[str, Any]:
    """A Secret as cert-manager makes it."""
    pair = self_signed([host], KeyKind(), life=timedelta(days=90))
    data = {"tls.crt": chain_pem(pair.chain), "tls.key": key_pem(pair.key)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": secret,
            "labels": {"controller.cert-manager.io/fao": "true"},
            "annotations": {"cert-manager.io/certificate-name": secret, "cert-manager.io/common-name": host},
        },
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def test_one_switch_takes_kube_lego_away_and_what_cert_manager_makes_is_its_own(ordering: Ordering) -> None:
    secret, host = "kubelego-tls-static", HOSTS["kubelego-tls-static"]

    def issued() -> bool:
        found = ordering.objects("secret", MANAGED_BY=names.KUBE_LEGO, COMPONENT="certificate")
        whole = [one for one in found if names.PLACEHOLDER not in one["metadata"]["annotations"]]
        return secret in {one["metadata"]["name"] for one in whole}

    # While it runs, a Secret that goes comes back.
    assert issued()
    ordering.kubectl("delete", "secret", secret)
    until(issued, "the Secret to be made anew", timeout=120)

    values = values_for(ordering.pebble)
    values["kube-lego"]["enabled"] = False
    ordering.set_values(values)
    certificates = {name: ordering.secret(name)["data"] for name in HOSTS}
    done = ordering.run("deploy", NAME, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    until(lambda: "kube-lego" not in ordering.kubectl("get", "pod", "-o", "name"), "its pod to be gone")
    for kind in ("deployment", "configmap", "role", "rolebinding", "serviceaccount"):
        assert "kube-lego" not in ordering.kubectl("get", kind, "-o", "name"), kind
    assert {name: ordering.secret(name)["data"] for name in HOSTS} == certificates
    ordering.kubectl("delete", "secret", secret)
    ordering.kubectl("create", "-f", "-", given=json.dumps(as_cert_manager_writes_it(secret, host)))
    kept = {name: ordering.secret(name) for name in HOSTS}
    # A deployment in between changes none of them, and https goes on with what the Secrets hold.
    done = ordering.run("deploy", NAME, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert {name: ordering.secret(name) for name in HOSTS} == kept
    assert ordering.served(DOMAIN)
