from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from binderops.errors import StateError
from binderops.node.config import NodeConfig, load_config
from binderops.node.pki import ensure_pki

LEAVES = ("apiserver", "admin", "node", "kubelet", "apiserver-kubelet-client")


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return load_config("local", state_root=tmp_path)


def certificate(config: NodeConfig, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((config.pki / f"{name}.crt").read_bytes())


def serials(config: NodeConfig) -> dict[str, int]:
    return {name: certificate(config, name).serial_number for name in ("ca", *LEAVES)}


def test_what_is_made_is_private_signed_and_kept(config: NodeConfig) -> None:
    ensure_pki(config)
    before, key = serials(config), (config.pki / "sa.key").read_bytes()
    ensure_pki(config)
    assert serials(config) == before and (config.pki / "sa.key").read_bytes() == key
    assert stat.S_IMODE(config.pki.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in config.pki.iterdir()} == {0o600}
    authority = certificate(config, "ca")
    for name in LEAVES:
        certificate(config, name).verify_directly_issued_by(authority)


def test_clients_are_who_they_are_to_be(config: NodeConfig) -> None:
    ensure_pki(config)
    assert certificate(config, "admin").subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"
    assert certificate(config, "node").subject.rfc4514_string() == "CN=system:node:local,O=binderops:node"
    purposes = {
        name: certificate(config, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        for name in LEAVES
    }
    serving = {name for name, usage in purposes.items() if ExtendedKeyUsageOID.SERVER_AUTH in usage}
    clients = {name for name, usage in purposes.items() if ExtendedKeyUsageOID.CLIENT_AUTH in usage}
    assert (serving, clients) == ({"apiserver", "kubelet"}, {"admin", "node", "apiserver-kubelet-client"})


def test_the_api_is_known_by_every_name_that_clients_use(config: NodeConfig) -> None:
    ensure_pki(config)
    store = Store([certificate(config, "ca")])
    for name in ("kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"):
        verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name))
        verifier.verify(certificate(config, "apiserver"), [])


def test_certificates_near_their_end_are_renewed_and_the_ca_is_not(config: NodeConfig) -> None:
    ensure_pki(config)
    before = serials(config)
    ensure_pki(config, now=datetime.now(UTC) + timedelta(days=300))
    after = serials(config)
    assert after["ca"] == before["ca"]
    assert all(after[name] != before[name] for name in LEAVES)


def test_a_new_address_gets_a_new_serving_certificate_only(config: NodeConfig) -> None:
    ensure_pki(config)
    before = serials(config)
    ensure_pki(msgspec.structs.replace(config, api_address="192.0.2.7"))
    after = serials(config)
    assert {name for name in before if before[name] != after[name]} == {"apiserver"}


def test_a_damaged_leaf_is_made_anew_and_a_damaged_ca_is_named(config: NodeConfig) -> None:
    ensure_pki(config)
    (config.pki / "node.crt").write_text("nonsense")
    ensure_pki(config)
    certificate(config, "node").verify_directly_issued_by(certificate(config, "ca"))
    (config.pki / "ca.key").write_text("nonsense")
    with pytest.raises(StateError, match=r"ca\.crt"):
        ensure_pki(config)


def test_certificates_made_in_1970_are_good_once_the_clock_is_right_and_before(config: NodeConfig) -> None:
    ensure_pki(config, now=datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    before, now = serials(config), datetime.now(UTC)
    ensure_pki(config)
    assert serials(config) == before, "none has to be made anew"
    for name in before:
        made = certificate(config, name)
        assert made.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
        assert made.not_valid_after_utc > now


@pytest.mark.root
def test_a_first_start_that_ended_at_any_write_is_gone_on_with(tmp_path: Path) -> None:
    failures = 0
    for room in range(1, 64):
        folder = tmp_path / str(room)
        folder.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={room * 4096}", "none", str(folder))
        try:
            try:
                config = load_config("local", state_root=folder)
                ensure_pki(config)
            except OSError:
                failures += 1
                _run("mount", "-o", "remount,size=1m", str(folder))
                config = load_config("local", state_root=folder)
                ensure_pki(config)
            else:
                break
            made = serials(config)
            authority = certificate(config, "ca")
            for name in LEAVES:
                certificate(config, name).verify_directly_issued_by(authority)
            ensure_pki(config)
            assert serials(config) == made
        finally:
            _run("umount", str(folder))
    assert failures >= 2 * (1 + len(LEAVES)), "fewer than there are files"


@pytest.mark.parametrize("lost", ["ca.crt", "ca.key"])
@pytest.mark.parametrize("left", ["leaves", "store"])
def test_half_a_ca_that_was_in_use_is_not_made_anew(config: NodeConfig, lost: str, left: str) -> None:
    ensure_pki(config)
    (config.pki / lost).unlink()
    if left == "store":
        config.store.touch()
        for name in LEAVES:
            (config.pki / f"{name}.crt").unlink()
    with pytest.raises(StateError, match="restore both ca files"):
        ensure_pki(config)


def test_halves_of_two_cas_are_named(config: NodeConfig, tmp_path: Path) -> None:
    ensure_pki(config)
    other = load_config("other", state_root=tmp_path)
    ensure_pki(other)
    (config.pki / "ca.key").write_bytes((other.pki / "ca.key").read_bytes())
    with pytest.raises(StateError, match=r"ca\.key is not the key of ca\.crt"):
        ensure_pki(config)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, timeout=20, check=True)
