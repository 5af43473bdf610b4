"""Secrets are checked before nginx sees them; a bad one harms no other host."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.ingress.authority import Authority, key_pem, secret

from binderops.ingress.certificates import Pair, parse_pair, placeholder
from binderops.ingress.keystore import KeyStore
from binderops.ingress.tls import Certificates, Tls
from binderops.kube.objects import key_of

KEY = ("test", "s")


def good(authority: Authority, *hosts: str) -> tuple[bytes, bytes]:
    return authority.issue(*(hosts or ("a.test",)))


def encrypted(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def bad_pairs(authority: Authority) -> dict[str, tuple[bytes, bytes]]:
    """Pairs that must not be served, by what their refusal says."""
    chain, key = good(authority)
    small, curve = (
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP521R1()),
    )
    return {
        "tls.crt is missing or empty": (b"", key),
        "tls.key is missing or empty": (chain, b""),
        "tls.crt holds no certificates in PEM": (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            key,
        ),
        "tls.key is not a private key in PEM": (chain, b"ssl_engine /tmp/evil.so;"),
        "tls.key does not belong to any certificate in tls.crt": (chain, good(authority)[1]),
        "tls.key is encrypted": (chain, encrypted(ec.generate_private_key(ec.SECP256R1()))),
        "tls.key is an RSA key of 1024 bits": authority.issue("a.test", key=small),
        "tls.key is on curve secp521r1": authority.issue("a.test", key=curve),
        "tls.key is neither an RSA nor an ECDSA key": (chain, key_pem(ed25519.Ed25519PrivateKey.generate())),
        "its certificate names no host": authority.issue(),
        "tls.crt is larger than 256 KiB": (b"x" * 300_000, key),
        "its certificate does not cover a.test": authority.issue("b.test"),
    }


WHAT = list(bad_pairs(Authority()))


class Chooser:
    """Certificates on a store of the test's own, for one Ingress."""

    def __init__(self, folder: Path, make: Any) -> None:
        self.store = KeyStore(folder)
        self.certificates = Certificates(self.store)
        self._make = make

    def choose(self, secrets: list[Any], *, hosts: tuple[str, ...] = ("a.test",)) -> tuple[Tls, list[str]]:
        """What is served, and the complaints' texts, after old files went."""
        ingress = self._make("ingress")("one", tls=[{"secretName": "s", "hosts": list(hosts)}])
        tls, complaints = self.certificates.choose([ingress], {key_of(found): found for found in secrets})
        self.store.keep(tls.files)
        return tls, [found.message for found in complaints]


@pytest.fixture
def chooser(tmp_path: Path, make: Any) -> Chooser:
    return Chooser(tmp_path / "keys", make)


@pytest.mark.parametrize("what", WHAT)
def test_a_bad_secret_is_named_and_the_placeholder_served(chooser: Chooser, authority: Authority, what: str) -> None:
    tls, said = chooser.choose([secret("s", bad_pairs(authority)[what])])
    assert tls.hosts == {"a.test": tls.default}
    assert len(said) == 1
    assert said[0].startswith(f"a.test: Secret s: {what}")
    assert "a placeholder is served" in said[0]


@pytest.mark.parametrize("what", [*WHAT, "it does not exist"])
def test_the_last_good_pair_stays_while_the_present_one_is_bad(
    chooser: Chooser, authority: Authority, what: str
) -> None:
    before, said = chooser.choose([secret("s", good(authority))])
    assert said == []
    bad = [] if what == "it does not exist" else [secret("s", bad_pairs(authority)[what], version=2)]
    during, said = chooser.choose(bad)
    assert during == before
    assert [("last good one goes on" in text, what in text) for text in said] == [(True, True)]
    after, said = chooser.choose([secret("s", good(authority), version=3)])
    assert (after != before, said) == (True, [])


def test_a_last_good_pair_is_forgotten_with_the_ingress_that_named_it(chooser: Chooser, authority: Authority) -> None:
    chooser.choose([secret("s", good(authority))])
    chooser.certificates.choose([], {})
    tls, said = chooser.choose([])
    assert tls.hosts["a.test"] == tls.default
    assert len(said) == 1


def test_a_certificate_that_ended_or_has_not_begun_is_served_and_named(chooser: Chooser, authority: Authority) -> None:
    for version, (days, what) in enumerate([((-9, -1), "ended at"), ((1, 9), "begins at")]):
        tls, said = chooser.choose([secret("s", authority.issue("a.test", days=days), version=version)])
        assert tls.hosts["a.test"] != tls.default
        assert what in said[0]


def test_hosts_in_spec_tls_that_are_no_names_are_refused(chooser: Chooser, authority: Authority) -> None:
    tls, said = chooser.choose([secret("s", good(authority))], hosts=("a.test", "evil; }", "*.*.x", "", "\n"))
    assert set(tls.hosts) == {"a.test"}
    assert len(said) == 4


def test_covering_is_one_label_for_a_wildcard(authority: Authority) -> None:
    pair = parse_pair(*good(authority, "*.a.test", "b.test"))
    table = {
        "x.a.test": True,
        "a.test": False,
        "x.y.a.test": False,
        "b.test": True,
        "*.a.test": True,
        "*.b.test": False,
    }
    assert {host: pair.covers(host) for host in table} == table


def test_a_chain_in_any_order_is_served_in_order_and_strangers_are_left_out(authority: Authority) -> None:
    chain, key = good(authority)
    stranger, _ = good(Authority())
    blocks = chain.split(b"-----END CERTIFICATE-----\n")
    leaf, middle = (block + b"-----END CERTIFICATE-----\n" for block in blocks[:2])
    in_order = parse_pair(chain, key)
    assert parse_pair(stranger + middle + leaf, key) == in_order
    assert in_order.pem.count(b"BEGIN CERTIFICATE") == 2


def test_what_stands_beside_the_pem_does_not_reach_nginx(authority: Authority) -> None:
    chain, key = good(authority)
    pair = parse_pair(b"evil_marker\n" + chain + b"engine:evil_marker\n", b"evil_marker\n" + key)
    assert b"evil_marker" not in pair.pem


def test_files_are_the_owners_only_named_by_content_and_removed_when_unused(
    chooser: Chooser, authority: Authority
) -> None:
    pair = good(authority)
    first, _ = chooser.choose([secret("s", pair)])
    again, _ = chooser.choose([secret("s", pair, version=2)])
    assert first == again
    assert stat.S_IMODE(chooser.store.folder.stat().st_mode) == 0o700
    files = list(chooser.store.folder.iterdir())
    assert set(files) == first.files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    other, _ = chooser.choose([secret("s", good(authority), version=3)])
    assert set(chooser.store.folder.iterdir()) == other.files != first.files
    assert list(KeyStore(chooser.store.folder).folder.iterdir()) == []


def test_a_pair_that_openssl_refuses_never_becomes_a_file(tmp_path: Path) -> None:
    store, pair = KeyStore(tmp_path), placeholder()
    broken = Pair(pair.pem[:-60], pair.names, pair.kind, pair.not_before, pair.not_after)
    with pytest.raises(ValueError, match="OpenSSL refuses it"):
        store.put(broken)
    assert list(tmp_path.iterdir()) == []


def test_keys_stay_out_of_texts(authority: Authority) -> None:
    assert "PRIVATE" not in repr(parse_pair(*good(authority)))
