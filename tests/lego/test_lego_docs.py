"""What operators meet stands in docs/operate/certificates.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from binderops.kube import certificates
from binderops.lego import metrics
from binderops.lego.wanted import _SERVED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate/certificates.md").read_text(encoding="utf-8")
PREFIX = "binderops.dev/certificate-"
ANNOTATIONS = [value for value in vars(certificates).values() if isinstance(value, str) and value.startswith(PREFIX)]
SOURCES = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src/binderops/lego").glob("*.py"))


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_of_secrets(name: str) -> None:
    assert f"`{name.removeprefix(PREFIX)}`" in PAGE


@pytest.mark.parametrize("name", sorted({certificates.TLS_ACME, certificates.ADOPT, *_SERVED}))
def test_annotations_of_ingresses(name: str) -> None:
    unsaid = {certificates.ISSUER_KIND, certificates.ISSUER_GROUP, "cert-manager.io/issue-temporary-certificate"}
    assert name in unsaid or name in PAGE


@pytest.mark.parametrize("metric", [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)])
def test_metrics(metric: MetricWrapperBase) -> None:
    (described,) = metric.describe()
    name = described.name + ("_total" if described.type == "counter" else "")
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize(
    "reason", sorted(set(re.findall(r'reason="([A-Za-z]+)"', SOURCES)) - {"noChallenge", "invalidOrder"})
)
def test_reasons_of_failures(reason: str) -> None:
    assert f"`{reason}`" in PAGE
