"""What `up` tells at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from binderops.delivery.up import folder_link
from binderops.state.deployment import load_deployment
from binderops.state.project import load_project

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environment", "link"),
    [("local", "http://a.example/v2/local/hello/HEAD"), ("staging", None), ("prod", None)],
)
def test_a_link_is_told_only_where_visitors_may_follow_it(environment: str, link: str | None) -> None:
    deployment = load_deployment(REPOSITORY, load_project(REPOSITORY), environment, generated=(), opened=False)
    assert folder_link(deployment.computed, "http://a.example/", "examples/hello") == link


@pytest.mark.parametrize("computed", [{}, {"binderhub": None}, {"binderhub": {"config": {"BinderHub": {}}}}])
def test_a_chart_of_another_kind_has_no_such_link(computed: dict[str, object]) -> None:
    assert folder_link(computed, "http://a.example/", "examples/hello") is None
