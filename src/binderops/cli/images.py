"""Wires the image builder: its events become progress, what it found out about this machine becomes facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from binderops.delivery.deployed import deployed_images
from binderops.delivery.progress import Step
from binderops.errors import ImageError, StateError
from binderops.images.authorities import added_authorities
from binderops.images.building import build_images
from binderops.images.definitions import clone_of_this_project
from binderops.images.lockfile import read_lock
from binderops.images.machine import MachineSettings, bundle_text, detect_package_settings
from binderops.images.own import own_images, refuse_unplaced
from binderops.images.progress import ImageProgress
from binderops.images.publishing import publish_images
from binderops.target.egress import private_openings

# Steps differ in length by image; these shares of a cold build were measured, and only the bar depends on them.
_SHARES = {"debian": 0.25, "base": 0.05, "platform": 0.25, "notebook": 0.15, "build": 0.1, "build-base": 0.2}


async def build_all(root: Path, state: Path, paths: Mapping[str, Sequence[str]], *, step: Step) -> str:
    """Builds what is missing and answers with words for people; `paths` is binderops.yaml's `images`."""
    done: dict[str, float] = {}
    built: list[str] = []
    removed: list[str] = []

    def told(event: ImageProgress) -> None:
        done[event.image] = event.fraction
        if event.state == "built":
            built.append(event.image)
        if event.state == "removed":
            removed.append(event.image)
        fraction = sum(share * done.get(name, 0.0) for name, share in _SHARES.items())
        step.say(f"{event.image}: {event.doing or event.state}", fraction=min(fraction, 1.0))

    sources = clone_of_this_project()
    own = own_images(root, sources=sources)
    refuse_unplaced(own, paths)
    lock = await build_images(
        state,
        progress=told,
        settings=detect_package_settings(),
        sources=sources,
        own=own,
        deployed=deployed_images(state),
    )
    unknown = [name for name in lock.images if name not in paths]
    if unknown:
        raise StateError(
            f"no place in the values for the image {unknown[0]}",
            where="binderops.yaml: images",
            hint=f"add `{unknown[0]}: [global.images.{unknown[0]}]`",
        )
    names = ", ".join(sorted(lock.images))
    old = f"; removed, since they are old: {', '.join(removed)}" if removed else ""
    return f"{names} ({'built: ' + ', '.join(built) if built else 'cached'}{old})"


def built_images(state: Path) -> dict[str, str]:
    """Name -> digest of what is built on this machine; empty where nothing is."""
    try:
        return {name: image.digest for name, image in read_lock(state / "images" / "images.lock.yaml").images.items()}
    except ImageError:
        return {}


async def publish_all(
    root: Path, state: Path, to: str, *, credentials: Path | None, insecure: bool, step: Step
) -> dict[str, str]:
    """Pushes the images of this machine's lock to `to`/NAME; writes images.lock.yaml; name -> digest there."""

    def told(event: ImageProgress) -> None:
        step.say(f"{event.image}: {event.doing or event.state}")

    lock = await publish_images(state, to, progress=told, authentication=credentials, insecure=insecure)
    lock.write(root / "images.lock.yaml")
    return {name: image.digest for name, image in lock.images.items()}


def machine_facts(state: Path) -> dict[str, Any]:
    """`global.machine`: what builds and clients on this machine must be told (its CA, its index, its proxies)."""
    settings = detect_package_settings()
    return {
        "caCertificates": _certificates(settings),
        "packageIndex": {
            "pip": settings.pip_index,
            "npm": settings.npm_registry,
            "debian": settings.debian_mirror,
        },
        "packageIndexEgress": private_openings(
            [
                settings.pip_index or "https://pypi.org/simple",
                "" if settings.pip_index else "https://files.pythonhosted.org",
                settings.debian_mirror or "http://deb.debian.org/debian",
                settings.http_proxy,
                settings.https_proxy,
            ]
        ),
        "proxies": {"http": settings.http_proxy, "https": settings.https_proxy, "none": settings.no_proxy},
        "buildBaseStore": str(state / "images" / "build-base" / "storage"),
    }


def _certificates(settings: MachineSettings) -> str:
    if settings.ca_bundle is None:
        return ""
    return added_authorities(bundle_text(settings.ca_bundle))
