"""What the `certificates` action tells of Secrets and Ingresses."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from binderops.delivery.certificates import CertificatesResult, reports
from binderops.kube import certificates as names
from binderops.lego.pairs import KeyKind, chain_pem, key_pem, self_signed

NOW = datetime(2026, 11, 24, tzinfo=UTC)
INGRESS = {
    "metadata": {"name": "binderhub", "namespace": "binder"},
    "spec": {
        "tls": [{"secretName": "tls", "hosts": ["a.example.org", "b.example.org"]}, {"hosts": ["no.example.org"]}]
    },
}


def secret(hosts: list[str], *, days: float = 90, **annotations: str) -> dict[str, Any]:
    pair = self_signed(hosts, KeyKind(), life=timedelta(days=days), now=NOW)
    data = {"tls.crt": chain_pem(pair.chain), "tls.key": key_pem(pair.key)}
    told = {getattr(names, key): value for key, value in annotations.items()}
    return {
        "metadata": {"name": "tls", "labels": {names.MANAGED_BY: names.KUBE_LEGO}, "annotations": told},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


BOTH = ["a.example.org", "b.example.org"]


@pytest.mark.parametrize(
    ("found", "after", "expected"),
    [
        (None, 0, {"state": "missing", "names": ("a.example.org", "b.example.org"), "ours": False}),
        ({"metadata": {}, "data": {"tls.crt": "bm90"}}, 0, {"state": "unreadable", "missing_names": tuple(BOTH)}),
        (secret(BOTH, PLACEHOLDER="true"), 0, {"state": "placeholder", "not_after": None, "issuer": ""}),
        (
            secret(BOTH, ISSUER_NAME="default", RENEW_AT="2027-01-01T00:00:00Z"),
            0,
            {
                "state": "valid",
                "days_left": 90.0,
                "issuer": "default",
                "next_renewal": datetime(2027, 1, 1, tzinfo=UTC),
                "ingresses": ("binderhub",),
            },
        ),
        (secret(BOTH), 91, {"state": "expired", "days_left": -1.0}),
        (secret(["a.example.org"]), 0, {"state": "valid", "missing_names": ("b.example.org",)}),
        (secret(["*.example.org"]), 0, {"state": "valid", "missing_names": ()}),
        (
            secret(BOTH, FAILURES="3", LAST_ERROR="the CA is busy", NEXT_ATTEMPT="2026-11-25T00:00:00Z"),
            0,
            {"failures": 3, "last_error": "the CA is busy", "next_attempt": datetime(2026, 11, 25, tzinfo=UTC)},
        ),
        (secret(BOTH, FAILURES="many", RENEW_AT="soon"), 0, {"failures": 0, "next_renewal": None}),
    ],
)
def test_reports(found: dict[str, Any] | None, after: int, expected: dict[str, Any]) -> None:
    (report,) = reports([INGRESS], {"tls": found} if found else {}, now=NOW + timedelta(days=after))
    told = report.model_dump()
    assert {key: told[key] for key in expected} == expected


def test_what_needs_somebody_comes_first_and_no_key_is_told() -> None:
    other = {"metadata": {"name": "static"}, "spec": {"tls": [{"secretName": "ztls", "hosts": ["s.example.org"]}]}}
    good = secret(BOTH)
    found = reports([INGRESS, other], {"tls": good}, now=NOW)
    assert [report.secret for report in found] == ["ztls", "tls"]
    result = CertificatesResult(namespace="binder", certificates=found)
    assert result.model_dump()["good"] is False
    assert CertificatesResult(namespace="binder", certificates=found[1:]).model_dump()["good"] is True
    assert good["data"]["tls.key"] not in result.model_dump_json()
    assert "PRIVATE" not in result.model_dump_json()
