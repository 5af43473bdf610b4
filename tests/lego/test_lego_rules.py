"""The pure parts as tables: what is asked for and refused, when to renew, when to try again, what may be served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from acme import messages
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import AcmeError, CertificateError, SelfCheckError, UsageError
from binderops.kube import certificates as names
from binderops.lego import backoff, renewal
from binderops.lego.acme_network import describe, retry_after_seconds
from binderops.lego.authority import issue, make_authority, outside
from binderops.lego.pairs import KeyKind, Pair, covers, examine, read_pair, self_signed
from binderops.lego.settings import Issuer, Settings, read_issuers
from binderops.lego.solver import Solver
from binderops.lego.wanted import plan

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ISSUERS = {
    "default": Issuer(type="acme", server="https://ca/directory", name="default"),
    "local": Issuer(type="ca", name="local"),
}
SETTINGS = Settings(issuers=ISSUERS, namespace="ns", identity="me")


def asking(
    *blocks: dict[str, Any], created: str = "2026-01-01T00:00:00Z", name: str = "web", **annotations: str
) -> Any:
    told = {getattr(names, key): value for key, value in annotations.items()}
    metadata = {"name": name, "namespace": "ns", "uid": name, "annotations": told, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"ingressClassName": "nginx", "tls": list(blocks)}}


GOOD = {"secretName": "tls", "hosts": ["a.example.org"]}


@pytest.mark.parametrize("value", ["true", "1", "t", "T", "TRUE", "True"])
def test_go_s_idea_of_true_asks(value: str) -> None:
    wanted, complaints = plan([asking(GOOD, TLS_ACME=value)], SETTINGS)
    assert set(wanted) == {("ns", "tls")} and complaints == []


@pytest.mark.parametrize(
    ("value", "told"), [("false", 0), ("0", 0), ("", 0), ("F", 0), ("yes", 1), ("tRuE", 1), (" true", 1)]
)
def test_everything_else_does_not(value: str, told: int) -> None:
    wanted, complaints = plan([asking(GOOD, TLS_ACME=value)], SETTINGS)
    assert wanted == {} and len(complaints) == told


@pytest.mark.parametrize(
    ("ingress", "message"),
    [
        (asking(GOOD, ISSUER="local", CLUSTER_ISSUER="local"), "only one can be meant"),
        (asking(GOOD, ISSUER="nobody"), "there is no issuer 'nobody': declared are default, local"),
        (asking(GOOD, ISSUER="local", ISSUER_KIND="AWSPCA"), "is not a kind of issuer"),
        (asking(GOOD, ISSUER="local", ISSUER_GROUP="awspca.cert-manager.io"), "are not served here"),
        (asking(GOOD, TLS_ACME="true", KEY_ALGORITHM="Ed25519"), "RSA or ECDSA"),
        (asking(GOOD, TLS_ACME="true", KEY_ALGORITHM="RSA", KEY_SIZE="1024"), "2048, 3072, 4096"),
        (asking(TLS_ACME="true"), "neither hosts nor a Secret"),
        (asking({"secretName": "tls"}, TLS_ACME="true"), "spec.tls[0] has no hosts"),
        (asking({"hosts": ["a.example.org"]}, TLS_ACME="true"), "spec.tls[0] has no secretName"),
        (asking({"secretName": "tls", "hosts": ["*.example.org"]}, TLS_ACME="true"), "cannot be proved by HTTP-01"),
        (asking({"secretName": "tls", "hosts": ["a b"]}, TLS_ACME="true"), "is not a host name"),
        (asking({"secretName": "tls", "hosts": ["a\nb.example"]}, TLS_ACME="true"), "is not a host name"),
        (asking({"secretName": "tls", "hosts": [f"h{n}.x.org" for n in range(101)]}, TLS_ACME="true"), "more than 100"),
        (asking(GOOD, {"secretName": "tls", "hosts": ["b.example.org"]}, TLS_ACME="true"), "name the same Secret tls"),
    ],
)
def test_refused_in_words(ingress: Any, message: str) -> None:
    wanted, complaints = plan([ingress], SETTINGS)
    assert wanted == {}
    assert [complaint.reason for complaint in complaints] == ["BadConfig"]
    assert message in complaints[0].message


def test_a_bad_element_leaves_the_others() -> None:
    wanted, complaints = plan([asking({"secretName": "bad"}, GOOD, TLS_ACME="1")], SETTINGS)
    assert set(wanted) == {("ns", "tls")} and len(complaints) == 1


def test_the_oldest_ingress_keeps_a_secret() -> None:
    young = asking({**GOOD, "hosts": ["b.example.org"]}, name="a", created="2026-02-01T00:00:00Z", TLS_ACME="true")
    old = asking(GOOD, name="z", TLS_ACME="true")
    wanted, complaints = plan([young, old], SETTINGS)
    assert wanted["ns", "tls"].ingress == "z"
    assert complaints[0].ingress == ("ns", "a") and "belongs to Ingress z" in complaints[0].message
    same = asking(GOOD, name="b", created="2026-03-01T00:00:00Z", TLS_ACME="true")
    assert plan([old, same], SETTINGS)[1] == []


def test_a_wildcard_is_fine_for_an_issuer_that_proves_nothing() -> None:
    wanted, complaints = plan([asking({"secretName": "tls", "hosts": ["*.Example.org"]}, ISSUER="local")], SETTINGS)
    assert wanted["ns", "tls"].names == ("*.example.org",) and complaints == []


def test_classes_deleted_and_our_own_paths_are_left_alone() -> None:
    other = msgspec.structs.replace(SETTINGS, classes=("traefik",))
    assert plan([asking(GOOD, TLS_ACME="true")], other) == ({}, [])
    gone = asking(GOOD, TLS_ACME="true")
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert plan([gone], SETTINGS) == ({}, [])


def test_unknown_annotations_of_cert_manager_are_named() -> None:
    ingress = asking(GOOD, TLS_ACME="true")
    ingress["metadata"]["annotations"]["cert-manager.io/renew-before"] = "360h"
    wanted, complaints = plan([ingress], SETTINGS)
    assert set(wanted) == {("ns", "tls")}
    assert [(each.reason, "renew-before" in each.message) for each in complaints] == [("NotSupported", True)]


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"KEY_ALGORITHM": "ECDSA"}, True), ({"KEY_ALGORITHM": "RSA"}, False), ({"ISSUER": "local"}, False)],
)
def test_the_specification_changes_with_what_matters(change: dict[str, str], same: bool) -> None:
    one = plan([asking(GOOD, TLS_ACME="true")], SETTINGS)[0]["ns", "tls"].specification
    two = plan([asking(GOOD, TLS_ACME="true", **change)], SETTINGS)[0]["ns", "tls"].specification
    assert (one == two) is same


# --- renewal ----------------------------------------------------------------------------------------------------------


def certificate(life: timedelta) -> Pair:
    return self_signed(["a.example.org"], KeyKind(), life=life - timedelta(minutes=5), now=NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("life", "chance", "after"),
    [
        (timedelta(days=90), 0, timedelta(days=60)),
        (timedelta(days=45), 0, timedelta(days=30)),
        (timedelta(days=90), 1, timedelta(days=61.8)),
        (timedelta(days=6), 0, timedelta(days=3)),
        (timedelta(seconds=600), 0, timedelta(seconds=300)),
    ],
)
def test_by_lifetime(life: timedelta, chance: float, after: timedelta) -> None:
    assert abs(renewal.by_lifetime(certificate(life).leaf, chance=chance) - (NOW + after)) <= timedelta(seconds=1)


@pytest.mark.parametrize(
    ("start", "end", "chance", "after"),
    [
        (50, 52, 0.5, 51.0),
        (50, 52, 0, 50.0),
        (-3, -1, 0.5, 1 / 24),  # in the past: now, but not within an hour of issuance
        (200, 300, 0.5, 81.0),  # after the end of the certificate: nine tenths of its life
    ],
)
def test_by_window(start: float, end: float, chance: float, after: float) -> None:
    window = renewal.Window(NOW + timedelta(days=start), NOW + timedelta(days=end))
    at = renewal.by_window(certificate(timedelta(days=90)).leaf, window, chance=chance)
    assert abs(at - (NOW + timedelta(days=after))) <= timedelta(seconds=1)


@given(st.floats(-400, 400), st.floats(0.001, 400), st.floats(0, 1))
def test_a_window_never_makes_it_late_or_a_storm(start: float, length: float, chance: float) -> None:
    pair = _NINETY
    window = renewal.Window(NOW + timedelta(days=start), NOW + timedelta(days=start + length))
    at = renewal.by_window(pair.leaf, window, chance=chance)
    assert NOW + timedelta(minutes=59) <= at <= NOW + timedelta(days=81)
    assert at.microsecond == 0


_NINETY = certificate(timedelta(days=90))


def test_a_window_that_ends_before_it_starts_is_no_answer() -> None:
    with pytest.raises(ValueError, match="RFC 9773"):
        renewal.Window(NOW, NOW)


@pytest.mark.parametrize(("told", "after"), [(None, 21600), (5, 60), (3600, 3600), (10**7, 86400)])
def test_asked_again(told: float | None, after: int) -> None:
    assert renewal.ask_again_at(NOW, told) == NOW + timedelta(seconds=after)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Tue, 24 Nov 2026 12:01:00 GMT", 60.0),
        ("Tue, 24 Nov 2020 12:01:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, now=NOW) == seconds


# --- back-off ---------------------------------------------------------------------------------------------------------

CHECK = SelfCheckError("no", reason="selfCheck")
DECIDED = AcmeError("no", reason="caa")
BUSY = AcmeError("no", reason="serverInternal", transient=True, retry_after=900)
BROKEN = CertificateError("no", reason="brokenChain")
LIMIT = AcmeError("no", reason="rateLimited", retry_after=100000)


@pytest.mark.parametrize(
    ("errors", "minutes"),
    [
        ([CHECK] * 6, [0.5, 1, 2, 4, 5, 5]),
        ([DECIDED] * 8, [60, 120, 240, 480, 960, 1920, 1920, 1920]),
        ([CHECK, CHECK, DECIDED, DECIDED], [0.5, 1, 60, 120]),
        ([BUSY], [15]),
        ([LIMIT], [100000 / 60]),
        ([BROKEN] * 2, [60, 120]),
    ],
)
def test_pauses(errors: list[CertificateError], minutes: list[float]) -> None:
    before, found = None, []
    for error in errors:
        before = backoff.after(error, before, specification="s", now=NOW)
        found.append((before.next_attempt - NOW) / timedelta(minutes=1))
        assert backoff.read(before.annotations, specification="s") == before
    assert found == pytest.approx(minutes)


@pytest.mark.parametrize(
    "life", [timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24), timedelta(days=6), timedelta(days=9)]
)
@pytest.mark.parametrize("errors", [[CHECK], [DECIDED], [CHECK, DECIDED], [BROKEN, DECIDED]])
def test_a_short_life_leaves_several_attempts(life: timedelta, errors: list[CertificateError]) -> None:
    pair = certificate(life)
    at, before, attempts = renewal.by_lifetime(pair.leaf, chance=1), None, 0
    while at < pair.leaf.not_valid_after_utc:
        before = backoff.after(errors[attempts % len(errors)], before, specification="s", now=at, life=life)
        at, attempts = before.next_attempt, attempts + 1
    assert attempts >= 6


def test_a_long_life_is_waited_for_as_ever_and_so_is_a_limit() -> None:
    now, life = NOW, timedelta(days=45)
    assert backoff.after(DECIDED, None, specification="s", now=now, life=life).next_attempt == now + timedelta(hours=1)
    limit = AcmeError("no", reason="rateLimited")
    for error in (limit, LIMIT):
        told = backoff.after(error, None, specification="s", now=now)
        assert backoff.after(error, None, specification="s", now=now, life=timedelta(minutes=1)) == told


def test_another_specification_and_nonsense_mean_no_failure() -> None:
    failure = backoff.after(DECIDED, None, specification="s", now=NOW)
    assert backoff.read(failure.annotations, specification="other") is None
    assert backoff.read({**failure.annotations, names.FAILURES: "many"}, specification="s") is None
    assert set(backoff.no_failure()) == set(failure.annotations)


# --- pairs, authority, solver, settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "asked", "covered"),
    [
        (["a.example.org"], ["a.example.org"], True),
        (["*.example.org"], ["a.example.org"], True),
        (["*.example.org"], ["example.org"], False),
        (["*.example.org"], ["a.b.example.org"], False),
        (["*.example.org"], ["*.example.org"], True),
        (["192.0.2.1"], ["192.0.2.1"], True),
        (["2001:db8::1"], ["2001:db8::1"], True),
        (["*.0.2.1"], ["192.0.2.1"], False),
    ],
)
def test_covers(held: list[str], asked: list[str], covered: bool) -> None:
    assert covers(self_signed(held, KeyKind(), life=timedelta(days=1)).leaf, asked) is covered


def test_examined_before_it_is_served() -> None:
    authority, other = make_authority(now=NOW), make_authority(now=NOW)
    pair = issue(authority, ["a.example.org"], KeyKind(), now=NOW)
    chain = (pair.leaf, authority.leaf)

    def reasons(found: Pair, asked: list[str], now: datetime) -> list[str]:
        return [reason for reason, _ in examine(found, asked, now=now)]

    assert reasons(Pair(chain, pair.key), ["a.example.org"], NOW) == []
    assert reasons(Pair(chain, other.key), ["a.example.org"], NOW) == ["keyMismatch"]
    assert reasons(Pair(chain, pair.key), ["b.example.org"], NOW) == ["namesMissing"]
    assert reasons(Pair((pair.leaf, other.leaf), pair.key), ["a.example.org"], NOW) == ["brokenChain"]
    assert reasons(Pair(chain, pair.key), ["a.example.org"], NOW + timedelta(days=91)) == ["expired"]
    assert reasons(Pair(chain, pair.key), ["a.example.org"], NOW - timedelta(days=1)) == ["clockSkew"]


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_a_secret_holds_is_answered(certificate: bytes, key: bytes) -> None:
    with pytest.raises(ValueError):
        read_pair(certificate, key)


def test_what_the_local_ca_may_sign() -> None:
    authority = make_authority(["localhost"], now=NOW)
    asked = ["localhost", "a.localhost", "*.a.localhost", "notlocalhost", "a.example.org", "127.0.0.1"]
    assert outside(authority, asked) == ["notlocalhost", "a.example.org", "127.0.0.1"]
    assert outside(make_authority(now=NOW), asked) == []


def test_the_solver_knows_its_paths_only() -> None:
    solver = Solver()
    prefix = "/.well-known/acme-challenge/"
    solver.put("A.example.org", prefix + "token", "answer")
    assert solver.answer("a.example.org:80", prefix + "token") == "answer"
    assert solver.answer("a.example.org", prefix + "other") is None
    assert solver.answer("b.example.org", prefix + "token") is None
    assert solver.answer("a.example.org", "/token") is None
    solver.drop("a.example.org", prefix + "token")
    assert solver.answer("a.example.org", prefix + "token") is None


def test_a_problem_in_words() -> None:
    error = messages.Error.from_json(
        {
            "type": "urn:ietf:params:acme:error:compound",
            "detail": "several",
            "subproblems": [
                {
                    "type": "urn:ietf:params:acme:error:dns",
                    "detail": "no such\nname",
                    "identifier": {"type": "dns", "value": "a.example.org"},
                }
            ],
        }
    )
    assert describe(error) == "several; a.example.org: no such name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {type: vault}", "vault"),
        ("x: {type: acme, sever: 'https://a'}", "sever"),
        ("x: {type: acme, server: 'http://a'}", "not the https:// address"),
        ("x: [", "cannot be read"),
        ("- x", "not declared as it should be"),
    ],
)
def test_wrong_issuers_are_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "issuers.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        read_issuers({}, file)
    assert message in str(error.value)


def test_the_default_issuer_is_kube_lego_s() -> None:
    assert read_issuers({}, None)["default"].server == "https://acme-staging-v02.api.letsencrypt.org/directory"
    told = read_issuers({"LEGO_URL": "https://ca/d", "LEGO_EMAIL": "a@example.org"}, None)["default"]
    assert (told.server, told.email, told.name) == ("https://ca/d", "a@example.org", "default")
