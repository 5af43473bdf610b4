"""What is mounted at /run/machine while an image is built: this machine's CA, index, mirrors and proxies as files.

Each RUN of a Containerfile here begins with `. /run/machine/environment`. Nothing of it stays in an image.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from binderops.authorities import BUNDLE_VARIABLES
from binderops.images.machine import DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR, MachineSettings

MOUNT_POINT = "/run/machine"


def write_machine_folder(folder: Path, settings: MachineSettings, *, suite: str) -> None:
    """Write `environment`, `ca.crt`, `apt.conf` and `sources.list` for Debian's release `suite` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    # RUN steps read it as any user; on the machine its parent folder keeps others out.
    folder.chmod(0o755)
    environment = _environment(settings)
    if settings.ca_bundle:
        (folder / "ca.crt").write_bytes(settings.ca_bundle.read_bytes())
    if any((settings.debian_mirror, settings.debian_security_mirror, settings.ca_bundle)):
        (folder / "sources.list").write_text("\n".join(debian_sources(settings, suite)) + "\n")
        (folder / "apt.conf").write_text(_apt_configuration(settings))
        environment["APT_CONFIG"] = f"{MOUNT_POINT}/apt.conf"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    (folder / "environment").write_text("\n".join([*lines, ""]))


def debian_sources(settings: MachineSettings, suite: str) -> list[str]:
    """Return the lines of a sources.list(5) for `suite`, by this machine's mirrors."""
    mirror = settings.debian_mirror or DEBIAN_MIRROR
    security = settings.debian_security_mirror or DEBIAN_SECURITY_MIRROR
    return [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {security} {suite}-security main",
    ]


def _environment(settings: MachineSettings) -> dict[str, str]:
    values = {
        "PIP_INDEX_URL": settings.pip_index,
        "UV_DEFAULT_INDEX": settings.pip_index,
        "NPM_CONFIG_REGISTRY": settings.npm_registry,
        "http_proxy": settings.http_proxy,
        "https_proxy": settings.https_proxy,
        "no_proxy": settings.no_proxy,
    }
    if settings.ca_bundle:
        values |= dict.fromkeys(BUNDLE_VARIABLES, f"{MOUNT_POINT}/ca.crt")
    return {name: value for name, value in values.items() if value}


def _apt_configuration(settings: MachineSettings) -> str:
    lines = [f'Dir::Etc::sourcelist "{MOUNT_POINT}/sources.list";', 'Dir::Etc::sourceparts "-";']
    if settings.ca_bundle:
        lines.append(f'Acquire::https::CAInfo "{MOUNT_POINT}/ca.crt";')
    return "\n".join([*lines, ""])
