"""What the public names serve besides launches: redirects, badges, unknown hosts, the binder's own pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.e2e.conftest import DOMAIN

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]


@pytest.fixture
def web(deployed: Any) -> Any:
    """GET of a path at a host of the deployment, without following redirects."""
    port = httpx.URL(deployed.url).port

    def get(host: str, path: str = "/") -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=20) as client:
            request = client.build_request("GET", f"http://127.0.0.1:{port}{path}", headers={"Host": f"{host}:{port}"})
            return client.send(request)

    return get


def test_redirects_by_rule(web: Any, deployed: Any) -> None:
    moved = web(f"old.{DOMAIN}", "/v2/gh/a/b/HEAD?urlpath=x%2Fy")
    assert (moved.status_code, moved.headers["location"]) == (302, f"{deployed.url}v2/gh/a/b/HEAD?urlpath=x%2Fy")
    moved = web(f"docs.{DOMAIN}", "/any/path?query=1")
    assert (moved.status_code, moved.headers["location"]) == (301, "https://example.org/somewhere")


@pytest.mark.parametrize("name", ["badge.svg", "badge_logo.svg"])
def test_badges_on_their_own_host(web: Any, name: str) -> None:
    answer = web(f"static.{DOMAIN}", f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert "set-cookie" not in answer.headers
    assert int(answer.headers["cache-control"].split("max-age=")[1].split(",")[0]) >= 86400
    assert b"<svg" in answer.content


def test_an_unknown_host_is_404(web: Any) -> None:
    assert web(f"nobody.{DOMAIN}").status_code == 404
    assert web("example.org").status_code == 404


def test_the_binders_own_pages(web: Any) -> None:
    home = web(DOMAIN)
    assert home.status_code == 200 and "<form" in home.text
    assert web(DOMAIN, "/health").json()["ok"] is True
    assert "binderhub" in web(DOMAIN, "/versions").json()
    ids = {provider["id"] for provider in web(DOMAIN, "/api/repoproviders").json()}
    assert {"gh", "git", "local"} <= ids
    assert "binderhub_launch_count_total" in web(DOMAIN, "/metrics").text
