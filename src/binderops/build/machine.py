"""This machine's CA, package index and proxies, as RUN steps get them: mounted and set, but in no image.

buildah has no way to give RUN steps an environment that the image does not keep. So its OCI runtime is a wrapper of
ours (`runtime.py`), which adds variables and a mount to each container before runc starts it.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from binderops.authorities import BUNDLE_VARIABLES
from binderops.build import runtime
from binderops.build.places import PodPlaces

MOUNT_POINT = "/run/machine"
_PASSED = (
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "NPM_CONFIG_REGISTRY",
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_SUITE = "bookworm"


def run_step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that RUN steps get, made from the pod's own."""
    found = {name: environment[name] for name in _PASSED if environment.get(name)}
    if Path(environment.get("SSL_CERT_FILE", "")).is_file():
        found |= dict.fromkeys(BUNDLE_VARIABLES, f"{MOUNT_POINT}/ca.crt")
    return found


def prepare_runtime(places: PodPlaces, environment: Mapping[str, str]) -> str:
    """Write what RUN steps are given; return the OCI runtime to use: runc, or the wrapper where there is something."""
    variables = run_step_environment(environment)
    mirror = environment.get("DEBIAN_MIRROR", "")
    if not variables and not mirror:
        return "runc"
    shutil.rmtree(places.machine, ignore_errors=True)
    places.machine.mkdir(parents=True)
    if "SSL_CERT_FILE" in variables:
        shutil.copyfile(environment["SSL_CERT_FILE"], places.machine / "ca.crt")
    if mirror or "SSL_CERT_FILE" in variables:
        (places.machine / "apt.conf").write_text(_apt_configuration(mirror, ca="SSL_CERT_FILE" in variables))
    if mirror:
        (places.machine / "sources.list").write_text(_sources(mirror))
    for path in (places.machine, *places.machine.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    settings = places.run / "runtime.json"
    settings.write_text(json.dumps({"env": variables, "source": str(places.machine), "target": MOUNT_POINT}))
    wrapper = places.run / "runtime"
    wrapper.write_text(_wrapper(settings))
    wrapper.chmod(0o755)
    return str(wrapper)


def _wrapper(settings: Path) -> str:
    # Only `create` reads the container's configuration; the other calls, many of them polls, go straight to runc.
    edit = shlex.join([sys.executable, "-I", "-S", str(runtime.__file__), str(settings)])
    return (
        '#!/bin/sh\nfor argument in "$@"; do\n'
        f'  if [ "$argument" = create ]; then exec {edit} "$@"; fi\n'
        'done\nexec runc "$@"\n'
    )


def _sources(mirror: str) -> str:
    mirror = mirror.rstrip("/")
    lines = (
        f"deb {mirror} {_SUITE} main",
        f"deb {mirror} {_SUITE}-updates main",
        # Mirrors keep the security archive beside the main one, under this name.
        f"deb {mirror}-security {_SUITE}-security main",
    )
    return "\n".join([*lines, ""])


def _apt_configuration(mirror: str, *, ca: bool) -> str:
    lines = []
    if mirror:
        lines += [f'Dir::Etc::sourcelist "{MOUNT_POINT}/sources.list";', 'Dir::Etc::sourceparts "-";']
    if ca:
        lines.append(f'Acquire::https::CAInfo "{MOUNT_POINT}/ca.crt";')
    return "\n".join([*lines, ""])
