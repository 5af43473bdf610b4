"""The pod made ready for buildah: its stores, its runtime, its registries, and nothing left of a former build."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from binderops.build.machine import prepare_runtime
from binderops.build.places import PodPlaces
from binderops.errors import MachineError
from binderops.seccomp import SYSTEM_PROFILE, write_profile

_CLEANING_SECONDS = 60
# A limit in a container must not exceed the pod's own, or runc fails.
_OPEN_FILES, _PROCESSES = 1_048_576, 1_048_576
# A submodule must not be this pod's own files, nor a program; there is no key that ssh could use.
_GIT_PROTOCOLS = "http:https:git"


def configure(places: PodPlaces, environment: Mapping[str, str]) -> dict[str, str]:
    """Write buildah's configuration; return the variables that every call of buildah needs."""
    places.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.rmtree(places.temporary, ignore_errors=True)
    for folder in (places.storage, places.temporary):
        folder.mkdir(parents=True, exist_ok=True)
    runtime = prepare_runtime(places, environment)
    if not write_profile(places.seccomp):
        raise MachineError("the build image lacks its profile of system calls", where=str(SYSTEM_PROFILE))
    files = {
        "containers.conf": _containers_conf(runtime),
        "storage.conf": _storage_conf(places),
        "registries.conf": _REGISTRIES_CONF,
    }
    for name, text in files.items():
        (places.run / name).write_text(text)
        (places.run / name).chmod(0o600)
    return {
        "CONTAINERS_CONF": str(places.run / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(places.run / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(places.run / "registries.conf"),
        "BUILDAH_RUNTIME": runtime,
        "BUILDAH_ISOLATION": "oci",
        "TMPDIR": str(places.temporary),
    }


def remove_leftovers(places: PodPlaces, variables: Mapping[str, str]) -> None:
    """Remove the working containers of a build that was killed; only a kept folder has any."""
    if not (places.storage / "overlay-containers").is_dir():
        return
    subprocess.run(
        ["buildah", "rm", "--all"],
        env={**os.environ, **variables},
        timeout=_CLEANING_SECONDS,
        check=False,
        capture_output=True,
    )


def has_image(variables: Mapping[str, str], reference: str) -> bool:
    """Whether an image is in one of the pod's stores."""
    found = subprocess.run(
        ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", reference],
        env={**os.environ, **variables},
        timeout=_CLEANING_SECONDS,
        check=False,
        capture_output=True,
    )
    return found.returncode == 0


def base_reference(places: PodPlaces, pinned: str) -> str:
    """Return what FROM says for the notebook base that `pinned` names.

    The read-only store holds it by the first twelve digits of its digest: unpacked a second time it has another digest.
    """
    name, _, digest = pinned.partition("@sha256:")
    if digest and (places.base / "overlay-images").is_dir():
        return f"{name}:{digest[:12]}"
    return pinned


def _containers_conf(runtime: str) -> str:
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] % 2**63, _OPEN_FILES)
    processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[0] % 2**63, _PROCESSES)
    return f"""\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
http_proxy = false
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def _storage_conf(places: PodPlaces) -> str:
    stores = f'"{places.base}"' if (places.base / "overlay-images").is_dir() else ""
    return f"""\
[storage]
driver = "overlay"
graphroot = "{places.storage}"
runroot = "{places.run}/storage"
[storage.options]
additionalimagestores = [{stores}]
"""


# Names of Services are plain http inside the cluster; a bare name is Docker Hub's, as it is everywhere else.
_REGISTRIES_CONF = """\
unqualified-search-registries = ["docker.io"]
short-name-mode = "disabled"
[[registry]]
prefix = "*.svc"
insecure = true
"""


def git_environment(credential: Path | None = None, source: str = "") -> dict[str, str]:
    """Return variables for git: no prompts, no protocol that reads files, and the provider's credentials.

    `credential` holds lines of git-credential(1) with `\\n` for their ends, as upstream's helper of GIT_CREDENTIAL_ENV
    expects them. They are for the host of `source` alone: a submodule or an LFS address may name another, which must
    not be told them.
    """
    found = {"GIT_TERMINAL_PROMPT": "0", "GIT_ADVICE": "0", "GIT_ALLOW_PROTOCOL": _GIT_PROTOCOLS}
    address = urlsplit(source)
    if credential and address.hostname:
        helper = f'!f() {{ test "$1" = get && printf "%b\\n" "$(cat {credential})"; }}; f'
        host = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        found |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"credential.{host}.helper",
            "GIT_CONFIG_VALUE_0": helper,
        }
    return found
