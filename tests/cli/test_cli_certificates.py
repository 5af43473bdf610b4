"""`certificates` and `trust` where nothing runs, and the words for what they find where something does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from binderops.cli import certificates as module
from binderops.delivery.certificates import CertificateReport, CertificatesResult
from binderops.delivery.certificates_store import TrustStore
from binderops.delivery.stopping import still_trusted
from binderops.lego.authority import make_authority
from binderops.lego.pairs import chain_pem

Run = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustStore:
    """A machine's store that is not this one's."""
    found = TrustStore(tmp_path / "machine")
    found.bundle.parent.mkdir(parents=True)
    found.file("x").parent.mkdir(parents=True)
    monkeypatch.setattr(module, "TrustStore", lambda: found)
    return found


@pytest.mark.parametrize(("arguments", "code"), [(("staging",), 1), (("staging", "--install"), 1), (("nix",), 2)])
def test_what_does_not_run_has_no_ca_and_no_certificates(
    run: Run, store: TrustStore, arguments: tuple[str, ...], code: int
) -> None:
    done = run("trust", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert run("certificates", arguments[0]).returncode == code
    assert list(store.file("x").parent.iterdir()) == []


def test_trusting_and_distrusting_at_once_is_wrong_usage(run: Run, store: TrustStore) -> None:
    done = run("trust", "staging", "--install", "--remove")
    assert done.returncode == 2 and "exclude each other" in done.stderr


def test_a_ca_is_taken_out_after_its_environment_is_gone(run: Run, store: TrustStore) -> None:
    assert json.loads(run("trust", "staging", "--remove", "-o", "json").stdout)["done"] == "was not installed"
    assert still_trusted("staging", store) == []
    (store.root / "etc/ca-certificates.conf").write_text("# nothing of the distribution's\n")
    store.file("staging").write_text(chain_pem(make_authority().chain))
    (told,) = still_trusted("staging", store)
    assert "binderops trust staging --remove" in told
    done = run("trust", "staging", "--remove")
    assert done.returncode == 0 and str(store.file("staging")) in done.stdout
    assert not store.file("staging").exists()


def test_certificates_are_told_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good = CertificateReport(
        secret="kubelego-tls-hub",
        ingresses=("jupyterhub",),
        names=("hub.example.org",),
        state="valid",
        issuer="default",
        ours=True,
        days_left=60.04,
        next_renewal=datetime(2027, 1, 24, 11, 26, tzinfo=UTC),
    )
    bad = good.model_copy(
        update={
            "secret": "kubelego-tls-static",
            "missing_names": ("static.example.org",),
            "failures": 3,
            "last_error": "the CA is busy",
            "next_attempt": datetime(2026, 11, 25, tzinfo=UTC),
        }
    )
    told: list[CertificateReport] = [bad, good]

    async def found(workspace: object) -> CertificatesResult:
        return CertificatesResult(namespace="staging", certificates=tuple(told))

    monkeypatch.setattr(module, "environment_certificates", found)
    done = run("certificates", "staging")
    assert done.returncode == 1
    head, first, second, failure = done.stdout.splitlines()
    assert "NEXT RENEWAL" in head
    assert "does not cover static.example.org" in first
    assert second.split() == ["hub.example.org", "default", "valid", "60.0", "2027-01-24", "11:26Z", "kubelego-tls-hub"]
    words = "kubelego-tls-static: 3 in a row, next attempt 2026-11-25 00:00Z: the CA is busy"
    assert failure.strip().removeprefix("failed").strip() == words
    told.remove(bad)
    assert run("certificates", "staging").returncode == 0
