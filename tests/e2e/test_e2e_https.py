"""TLS all the way, as staging and prod have it: a local CA that Chromium trusts; page, launch, kernel, redirects.

The values are those of config/staging.yaml; only domain and ports are the test's own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, WebSocket, expect, sync_playwright
from tests.e2e.conformance import deployment_target
from tests.e2e.conftest import NAMESPACE, RUN, STATE, Deployed, make_repository
from tests.e2e.repositories import Repositories
from tests.e2e.test_e2e_browser import CHROMIUM, FLAGS, NOTEBOOK, PATIENCE, picture
from tests.ingress.conformance.scenarios import SCENARIOS, check, check_load_balancing

from binderops.kube.kinds import INGRESS

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.timeout(900)]

NAME, DOMAIN, PORT, TLS_PORT = "tls", "tls.localhost", 18081, 18443
URL = f"https://{DOMAIN}:{TLS_PORT}/"
PROJECT = f"""\
chart: mybinder
images: {{platform: [global.images.platform], build: [global.images.build], notebook: [global.images.notebook]}}
environments:
  {NAME}:
    target: {{node: {{name: {NAME}, apiPort: 16446}}}}
    layers: [config/staging.yaml, config/{NAME}.yaml]
"""
LAYER = f"global: {{domain: {DOMAIN}, publicPort: {PORT}, publicTlsPort: {TLS_PORT}}}\n"
SECRETS = {
    "kubelego-tls-binder-mybinder": DOMAIN,
    "kubelego-tls-hub": f"hub.{DOMAIN}",
    "kubelego-tls-redirector": f"old.{DOMAIN}",
    "kubelego-tls-static": f"static.{DOMAIN}",
}


@dataclass(frozen=True)
class Secured(Deployed):
    """A deployment that serves https."""

    @property
    def url(self) -> str:
        return URL

    @property
    def kubeconfig(self) -> Path:
        return STATE / "nodes" / NAME / "kubeconfig"


@pytest.fixture(scope="module")
def secured(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Up, and so proven by a launch over https; its images are those of the other deployment."""
    root = make_repository(tmp_path_factory.mktemp("secured"))
    (root / "binderops.yaml").write_text(PROJECT)
    (root / f"config/{NAME}.yaml").write_text(LAYER)
    found = Secured(root)
    try:
        up = found.run("up", NAME, timeout=600)
        assert up.returncode == 0, f"{up.stdout}\n{up.stderr}"
        yield found
    finally:
        done = found.run("purge", NAME)
        assert done.returncode == 0, done.stderr
        assert not (RUN / NAME).exists()


@pytest.fixture(scope="module")
def trusting(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of a browser that refuses the CA first; then its user's own store (NSS) is given what `trust` prints."""
    home = tmp_path_factory.mktemp("home")
    done = secured.run("trust", NAME)
    assert done.returncode == 0, done.stderr
    (home / "ca.pem").write_text(done.stdout)
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    certutil("-N", "--empty-password", "-d", f"sql:{store}")
    with sync_playwright() as playwright:
        for trusted in (False, True):
            if trusted:
                certutil("-A", "-n", "binderops", "-t", "C,,", "-i", str(home / "ca.pem"), "-d", f"sql:{store}")
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=list(FLAGS), env={**os.environ, "HOME": str(home)}
            )
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            if not trusted:
                with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                    page.goto(URL)
                browser.close()
                continue
            yield page
            browser.close()


def test_each_name_has_a_certificate_and_the_proof_went_through_https(secured: Secured) -> None:
    told = secured.json("certificates", NAME)
    assert told["good"]
    assert {found["secret"]: found["names"] for found in told["certificates"]} == {
        secret: [host] for secret, host in SECRETS.items()
    }
    for found in told["certificates"]:
        assert (found["state"], found["issuer"], found["last_error"]) == ("valid", "laptop", None)
        assert 89 < found["days_left"] <= 90 and found["next_renewal"]
    (record,) = secured.json("ledger", NAME)["records"]
    assert record["verdict"] == "pass"
    assert secured.json("status", NAME)["environments"][0]["binder_url"] == URL


def test_the_conformance_table_holds_for_the_chart_s_pods(secured: Secured) -> None:
    async def whole_table() -> None:
        settings = {"port": PORT, "tls_port": TLS_PORT, "addresses": ["127.0.0.1", "::1"]}
        async with deployment_target(secured.kubeconfig, NAMESPACE, **settings) as target:
            for scenario in SCENARIOS.values():
                await check(target, scenario)
                await target.remove(INGRESS)
            await check_load_balancing(target)

    # Before a browser of this module runs: its loop is this thread's from then on.
    asyncio.run(whole_table())


def test_http_leads_to_https_and_old_names_to_the_binder(trusting: Page) -> None:
    for begin, end in (
        (f"http://{DOMAIN}:{PORT}/about?a=b", f"{URL}about?a=b"),
        (f"https://old.{DOMAIN}:{TLS_PORT}/about", f"{URL}about"),
        (f"http://old.{DOMAIN}:{PORT}/about", f"{URL}about"),
    ):
        answer = trusting.goto(begin)
        assert answer is not None and answer.ok
        assert trusting.url == end
        expect(trusting.get_by_role("heading", level=1)).to_have_text("About")
        secure = answer.security_details()
        assert secure is not None and secure["protocol"] == "TLS 1.3"
        assert "BinderOps local CA" in str(secure["issuer"]) and secure["subjectName"] == DOMAIN
    badge = trusting.goto(f"https://static.{DOMAIN}:{TLS_PORT}/badge_logo.svg")
    assert badge is not None and badge.ok


def test_from_the_form_to_a_kernel_over_a_secure_websocket(trusting: Page, repositories: Repositories) -> None:
    page, sockets = trusting, list[str]()

    def opened(socket: WebSocket) -> None:
        sockets.append(socket.url)

    page.on("websocket", opened)
    url = repositories.add("secured", {"journey.ipynb": NOTEBOOK})
    page.goto(URL)
    page.select_option("#provider", "git")
    page.fill("#repository", url)
    page.fill("#path", "journey.ipynb")
    assert (page.get_by_test_id("launch-url").text_content() or "").startswith(f"{URL}v2/git/")
    page.click("#launch")
    page.wait_for_url(f"https://hub.{DOMAIN}:{TLS_PORT}/user/**")
    cell = page.locator(".jp-Notebook .jp-Cell").first
    cell.locator(".cm-content").click()
    expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-OutputArea-output").first).to_have_text("42")
    picture(page, "https")
    assert any("/api/kernels/" in socket for socket in sockets)
    assert all(socket.startswith(f"wss://hub.{DOMAIN}:{TLS_PORT}/") for socket in sockets), sockets
    assert page.evaluate("window.isSecureContext")


def certutil(*arguments: str) -> None:
    """NSS' own program (libnss3-tools)."""
    subprocess.run(["certutil", *arguments], check=True, capture_output=True, timeout=30)
