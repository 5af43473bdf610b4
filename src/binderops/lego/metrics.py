"""What Prometheus is told. Moments are seconds since 1970."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from binderops.kube import certificates as names
from binderops.kube.kinds import Object
from binderops.kube.objects import Key, annotations_of, parse_timestamp

_BY = ["namespace", "secret"]

EXPIRY = Gauge("kube_lego_certificate_expiry_timestamp_seconds", "When a certificate ends.", _BY)
RENEWAL = Gauge("kube_lego_certificate_renewal_timestamp_seconds", "When a certificate is to be renewed.", _BY)
WINDOW_START = Gauge("kube_lego_renewal_window_start_timestamp_seconds", "The CA's suggested window (RFC 9773).", _BY)
WINDOW_END = Gauge("kube_lego_renewal_window_end_timestamp_seconds", "The CA's suggested window (RFC 9773).", _BY)
FAILING = Gauge("kube_lego_certificate_failures", "Failed attempts in a row.", _BY)
ISSUED = Counter("kube_lego_certificates_issued_total", "Certificates obtained.", ["issuer", "renewal"])
FAILED = Counter("kube_lego_failures_total", "Attempts that failed, by reason.", ["issuer", "reason"])
LEADING = Gauge("kube_lego_leading", "Whether this replica is the one that works.")

_GAUGES = {EXPIRY: names.NOT_AFTER, RENEWAL: names.RENEW_AT}


def show(key: Key, secret: Object) -> None:
    """Tell what a Secret's annotations say."""
    annotations = annotations_of(secret)
    for gauge, name in _GAUGES.items():
        _set(gauge, key, annotations.get(name, ""))
    start, _, end = annotations.get(names.ARI_WINDOW, "").partition("/")
    _set(WINDOW_START, key, start)
    _set(WINDOW_END, key, end)
    count = annotations.get(names.FAILURES, "0")
    FAILING.labels(*key).set(int(count) if count.isdecimal() else 0)


def forget(key: Key) -> None:
    """A certificate is asked for no longer."""
    for gauge in (EXPIRY, RENEWAL, WINDOW_START, WINDOW_END, FAILING):
        gauge.remove(*key)


def _set(gauge: Gauge, key: Key, moment: str) -> None:
    try:
        gauge.labels(*key).set(parse_timestamp(moment).timestamp())
    except ValueError:
        gauge.remove(*key)
