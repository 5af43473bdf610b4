"""No upstream key is missing: each is honoured, accepted with the reason why it has no effect, or refused by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import pytest
from tests.charts.keys.page import HONOURED, REFUSED, WITHOUT_EFFECT, Listed, listed_keys, rows_about
from tests.charts.keys.upstream import FILE, expand, read_upstream

UPSTREAM = read_upstream(FILE.read_text(encoding="utf-8"))
# What may become of a key by what is due to it.
ALLOWED = {
    "H": {HONOURED},
    "N": {HONOURED, WITHOUT_EFFECT},
    "L": {HONOURED, WITHOUT_EFFECT, REFUSED},
    "R": {REFUSED},
}
# Where what is here differs from what is due, and why.
DIFFERS: dict[str, tuple[str, str]] = {
    **{
        f"binderhub.jupyterhub.scheduling.{key}": (
            REFUSED,
            f"upstream starts {part}, which are not here, unless told not to",
        )
        for part, keys in (
            ("schedulers", expand("userScheduler.{enabled,nodeSelector,replicas,*}")),
            ("placeholder pods", expand("userPlaceholder.{enabled,replicas,*}")),
        )
        for key in keys
    },
    "binderhub.jupyterhub.proxy.service.disableHttpPort": (REFUSED, "a Service without a port is refused by the API"),
    **{
        f"binderhub.config.{key}": (REFUSED, "builds elsewhere would have neither Role nor policies")
        for key in ("BinderHub.build_namespace", "KubernetesBuildExecutor.namespace")
    },
    **{
        f"nginx-ingress.controller.{key}": (REFUSED, "true would have an effect on one machine too")
        for key in ("stats.enabled", "hostNetwork", "autoscaling.enabled")
    },
    **{
        f"nginx-ingress.{part}.image.repository": (REFUSED, "upstream's image runs another program")
        for part in ("controller", "defaultBackend")
    },
    "nginx-ingress.defaultBackend.extraArgs": (REFUSED, "flags of a program that does not run here"),
    **{
        f"binderhub.jupyterhub.singleuser.networkTools.{key}": (WITHOUT_EFFECT, "no privileged init container runs")
        for key in expand("{image.{name,tag,pullPolicy,pullSecrets},resources}")
    },
}


# What a refusal says: which keys took this one's place, or that none did, and why.
INSTEAD = re.compile(r"use `\S+`( and `\S+`)*(: \S.*)?|nothing instead: \S.*")


def faults(upstream: Mapping[str, str], page: Mapping[str, Listed]) -> list[str]:
    """What is wrong with the page, in words."""
    found = []
    for key, due in upstream.items():
        rows = rows_about(key, page)
        verdicts = {row.verdict for row in rows}
        allowed = {DIFFERS[key][0]} if key in DIFFERS else ALLOWED[due]
        if not rows:
            found.append(f"{key} stands nowhere on the page")
        elif not verdicts <= allowed:
            found.append(f"{key} is {' and '.join(sorted(verdicts))}; {' or '.join(sorted(allowed))} is due")
        elif any(row.verdict != HONOURED and not row.why for row in rows):
            found.append(f"{key} is {' and '.join(sorted(verdicts))} without a reason")
        elif any(row.verdict == REFUSED and not INSTEAD.fullmatch(row.why) for row in rows):
            found.append(f"{key} is refused without what to use instead")
    return found


def test_every_upstream_key_is_on_the_page() -> None:
    assert len(UPSTREAM) > 700
    assert faults(UPSTREAM, listed_keys()) == []


def test_counts() -> None:
    page = listed_keys()
    print(dict(Counter(row.verdict for row in page.values())), "of which upstream's:", len(UPSTREAM))
    assert not [key for key in DIFFERS if key not in UPSTREAM]


@pytest.mark.parametrize(
    ("key", "due", "said"),
    [
        ("binderhub.nosuch", "H", "stands nowhere"),
        ("binderhub.image.nosuch", "H", "stands nowhere"),
        ("binderhub.replicas.nosuch", "H", "stands nowhere"),
        ("nginx-ingress.controller.service.*", "N", "stands nowhere"),
        ("nginx-ingress.controller.service.nosuch", "N", "stands nowhere"),
        ("grafana.enabled", "H", "is refused; honoured is due"),
        ("binderhub.tolerations", "H", "is without effect; honoured is due"),
        ("binderhub.image.name", "R", "is honoured; refused is due"),
        ("binderhub.jupyterhub.singleuser.networkPolicy", "R", "is honoured; refused is due"),
    ],
)
def test_a_key_that_is_missing_or_misjudged_is_named(key: str, due: str, said: str) -> None:
    (fault,) = faults({key: due}, listed_keys())
    assert key in fault and said in fault


def test_a_reason_that_is_missing_is_named() -> None:
    page = {**listed_keys(), "binderhub.new": Listed(REFUSED, "")}
    assert faults({"binderhub.new": "L"}, page) == ["binderhub.new is refused without a reason"]


@pytest.mark.parametrize("why", ["not yet supported", "use something else", "nothing instead: "])
def test_a_refusal_without_what_to_use_instead_is_named(why: str) -> None:
    page = {**listed_keys(), "binderhub.new": Listed(REFUSED, why)}
    assert faults({"binderhub.new": "L"}, page) == ["binderhub.new is refused without what to use instead"]


def test_every_refusal_of_the_page_says_what_to_use_instead() -> None:
    silent = [key for key, row in listed_keys().items() if row.verdict == REFUSED and not INSTEAD.fullmatch(row.why)]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "said"), [("[a.]\nH b\nR {b,c}", "a.b stands twice"), ("[a.]\nX b", "line 2"), ("H b", "line 1")]
)
def test_a_table_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_upstream(text)


def test_shapes_and_brackets() -> None:
    text = "P = x,y.{u,v}\n[a.]\nH {b,c.P}\nN d.{P,e}\n"
    below = ("x", "y.u", "y.v")
    assert list(read_upstream(text)) == [
        "a.b",
        *(f"a.c.{end}" for end in below),
        *(f"a.d.{end}" for end in below),
        "a.d.e",
    ]
