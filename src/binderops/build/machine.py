"""This machine's CA, package index and proxies, as RUN steps get them: mounted and set, but in no image.

buildah has no way to give RUN steps an environment that the image does not keep. So its OCI runtime is a wrapper of
ours (`runtime.py`), which adds variables and a mount to each container before runc starts it, and looks at what a
container would be shown of this pod.
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
    """Write what RUN steps are given; return the OCI runtime to use, a wrapper around runc."""
    variables = run_step_environment(environment)
    mirror = environment.get("DEBIAN_MIRROR", "")
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
    settings = {
        "env": variables,
        "source": str(places.machine) if any(places.machine.iterdir()) else "",
        "target": MOUNT_POINT,
        "storage": str(places.storage),
        "temporary": str(places.temporary),
        "whole": [],
    }
    places.runtime_settings.write_text(json.dumps(settings))
    wrapper = places.run / "runtime"
    wrapper.write_text(_wrapper(places.runtime_settings))
    wrapper.chmod(0o755)
    return str(wrapper)


def allow_context(places: PodPlaces, context: str) -> None:
    """Let RUN steps mount what lies in the context of the build that follows, and in no other."""
    settings = json.loads(places.runtime_settings.read_text())
    places.runtime_settings.write_text(json.dumps({**settings, "whole": [context]}))


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
