"""A whole deployment's `purge`, judged by listings of the whole machine: as if nothing had ever been there.

Only for `make purging`, on a machine where nothing else runs: what others do meanwhile would be found as well. The
tests' own are test_e2e_zz_lifecycle.py, and tests/target/test_target_purging.py on a booted machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import NAME, ROOT, RUN, STATE, UP_DEADLINE, Deployed, make_repository
from tests.e2e.launches import Binder, git_spec
from tests.e2e.listing import running
from tests.e2e.networks import ip, until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories
from tests.target.allowed import DEPLOYMENT_GONE
from tests.target.whole import Listing, added, listing

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(UP_DEADLINE + 600)),
    pytest.mark.skipif(not os.environ.get("PURGING"), reason="make purging"),
]

NOT_LISTED = {"proc", "sys", "tmp", ROOT.parts[1]}
FOLDERS = tuple(str(path) for path in sorted(Path("/").iterdir()) if path.is_dir() and path.name not in NOT_LISTED)
LEAK = Path("/var/lib/leak")


def test_a_deployment_leaves_the_machine_as_it_was(tmp_path: Path, repositories: Repositories) -> None:
    built = repositories.add("purging", {"index.ipynb": EMPTY_NOTEBOOK, "requirements.txt": "# built by a pod\n"})
    assert not STATE.exists() and not RUN.exists(), "of a run before"
    deployed = Deployed(make_repository(tmp_path / "repository"))
    until(lambda: "tentative" not in ip("-6", "address", "show"), "the kernel to be done with new addresses")
    before = whole()
    try:
        done = deployed.run("up", NAME, timeout=UP_DEADLINE)
        assert done.returncode == 0, done.stderr
        server = Binder(deployed.url).launch(git_spec(built))
        assert server.get("api/status")["kernels"] == 0
        made = added(before, whole(), DEPLOYMENT_GONE)
        assert set(made) >= {"process", "namespace", "mount", "link", "route", "table", "file", "cgroup"}
    finally:
        result = deployed.json("purge", NAME)
    until(lambda: not running(NAME, (STATE, RUN)), "nothing to run", timeout=20)
    assert all("Debian packages" in line or "Podman's note" in line for line in result["stays"]), result["stays"]
    LEAK.touch()
    subprocess.run(["ip", "netns", "add", "leak"], check=True, timeout=20)
    try:
        planted = [line for lines in added(before, whole(), DEPLOYMENT_GONE).values() for line in lines]
        assert any(line.startswith(f"{LEAK} ") for line in planted), planted
        assert "leak" in planted, "the namespace"
    finally:
        LEAK.unlink()
        subprocess.run(["ip", "netns", "delete", "leak"], check=True, timeout=20)
    assert added(before, whole(), DEPLOYMENT_GONE) == {}
    shutil.rmtree(deployed.root)


def whole() -> Listing:
    """The machine as it is, but for folders of the tests' own."""
    return listing(FOLDERS)
