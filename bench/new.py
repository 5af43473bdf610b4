"""A repository that nobody built before, beside the Dockerfiles that say the same."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.launch import REQUIREMENTS, launch_example, nobody_runs, notebook_base, open_folder, where_time_goes
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.launching import Launched
from binderops.delivery.proving import end_server
from binderops.delivery.workspace import Workspace
from binderops.images.definitions import SUITE

_ROOT = "debian-python.tar.gz"
_PACKAGES = ("python3", "python3-pip", "ca-certificates")
_PIP = "python3 -m pip install --no-cache-dir --break-system-packages"
# What Binder's documentation has people write who bring a Dockerfile of their own.
_PLAIN = f"""\
FROM scratch
ADD {_ROOT} /
RUN {_PIP} notebook jupyterlab
RUN useradd --uid 1000 --create-home jovyan
ENV HOME=/home/jovyan
WORKDIR /home/jovyan
COPY --chown=1000:1000 requirements.txt unique.txt ./
RUN {_PIP} -r requirements.txt
USER 1000
"""
_TOLD = "upload excluded; from opening the event stream to the Lab page; a fresh name each time, three small packages"


async def new_repository(n: int) -> Report:
    """In turn, n times: by our buildpack, a plain Dockerfile, a Dockerfile from our base; the same pod builds all."""
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    report = Report("launch-new", "requirements.txt, plain Dockerfile and Dockerfile from our base in turn")
    ours, plain, based = [], [], []
    phases, plain_phases = [], []
    with tempfile.TemporaryDirectory(prefix="binderops-bench-") as scratch:
        root = await asyncio.to_thread(_debian_python, Path(scratch) / _ROOT)
        with root.open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
        for _ in range(n):
            with open_folder({"requirements.txt": REQUIREMENTS}) as folder:
                launched = await _built(workspace, folder)
                ours.append(launched.result.seconds)
                phases.append(launched.result.phases)
            with open_folder({"requirements.txt": REQUIREMENTS, "Dockerfile": _PLAIN}) as folder:
                shutil.copyfile(root, folder / _ROOT)
                launched = await _built(workspace, folder)
                plain.append(launched.result.seconds)
                plain_phases.append(launched.result.phases)
            with open_folder({"requirements.txt": REQUIREMENTS, "Dockerfile": _from_our_base(workspace)}) as folder:
                based.append((await _built(workspace, folder)).result.seconds)
    names = ("fetching", "building", "pushing", "built", "ready", "page")
    report.series = [
        Series("new requirements.txt", _TOLD, "s", ours, bar=6),
        Series(
            "plain Dockerfile",
            f"{_TOLD}; Debian {SUITE} with {' '.join(_PACKAGES)} by mmdebstrap (sha256:{digest}), unpacked "
            "in place of a base that is pulled; pip: notebook, jupyterlab, then the three; sent and pulled whole",
            "s",
            plain,
        ),
        Series(
            "share of plain's time",
            "the first divided by the plain Dockerfile after it; three times as fast is a share of 0.33",
            "",
            [a / b for a, b in zip(ours, plain, strict=True)],
            bar=round(1 / 3, 2),
        ),
        Series(
            "Dockerfile from our base",
            f"{_TOLD}; FROM the notebook base, RUN pip install of the three: our base, its store and its mounts in the "
            "registry serve this one too",
            "s",
            based,
        ),
        Series("share of that", "the first divided by it", "", [a / b for a, b in zip(ours, based, strict=True)]),
        *where_time_goes(phases, names),
        *where_time_goes(plain_phases, names, of="plain, "),
    ]
    return report


async def _built(workspace: Workspace, folder: Path) -> Launched:
    launched = await launch_example(workspace, folder)
    if not launched.result.built:
        raise RuntimeError(f"{folder} was not built: the figure would be a lie")
    await end_server(launched)
    await nobody_runs(workspace)
    return launched


def _from_our_base(workspace: Workspace) -> str:
    return (
        f"FROM {notebook_base(workspace)}\n"
        "COPY --chown=1000:1000 . /home/jovyan\nWORKDIR /home/jovyan\n"
        "RUN python3 -m pip install --no-cache-dir -r requirements.txt\n"
    )


def _debian_python(archive: Path) -> Path:
    """A Debian with its Python and pip, as an archive; from the mirror that this machine's apt uses."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(archive)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return archive
