"""One node's settings: given once at the first start, kept in `STATE/nodes/NAME/node.yaml`, handed to every room.

What can change between starts (the API's port, the published addresses, the images' budget) is taken from the command
line and kept; what stored objects depend on (the ranges, since ClusterIPs come out of them) is kept for good.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import yaml

from binderops.errors import StateError, UsageError
from binderops.node.files import locked, write_whole
from binderops.node.ranges import choose_ranges, networks_in_use

DEFAULT_API_PORT = 6443
DEFAULT_KUBELET_PORT = 10250
DEFAULT_IMAGE_BUDGET = 40 << 30  # bytes of the images that were pulled
DEFAULT_STATE = Path("/var/lib/binderops")
DEFAULT_RUN = Path("/run/binderops")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?")
_SMALLEST_PREFIX = 24  # a /24 has 254 Services or pods: fewer is a typing mistake


def valid_name(name: str) -> str:
    """Return `name` if a node may have it: 1 to 8 of [a-z0-9-], since interface names (15 bytes) are built from it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a node's name is 1 to 8 of a-z, 0-9 and '-', not at its ends; not {name!r}")
    return name


def _address(text: str) -> str:
    return str(ip_address(text))


def _path(kind: type, value: Any) -> Any:
    return kind(value)


def _range(text: str) -> str:
    network = IPv4Network(text)
    if network.prefixlen > _SMALLEST_PREFIX:
        raise ValueError(f"{text} is too small: a range needs at least a /{_SMALLEST_PREFIX}")
    return str(network)


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


# By msgspec, which the API needs anyway: pydantic is 9 MB of the node's memory and a tenth of a second of its start.
class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one node; the same frozen object is given to every room. ValueError for what cannot be."""

    name: str
    state: Path
    run: Path
    api_address: str = "127.0.0.1"
    api_port: Port = DEFAULT_API_PORT
    host_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    pod_range: str
    service_range: str
    cluster_domain: str = "cluster.local"
    image_stores: tuple[Path, ...] = ()
    user_namespace: tuple[int, int] = (200000, 65536)
    kubelet_port: Port = DEFAULT_KUBELET_PORT
    image_budget: Annotated[int, msgspec.Meta(ge=0)] = DEFAULT_IMAGE_BUDGET

    def __post_init__(self) -> None:
        """Check what types do not say, and write addresses and ranges in one way."""
        valid_name(self.name)
        settled = {
            "api_address": _address(self.api_address),
            "host_addresses": tuple(map(_address, self.host_addresses)),
            "pod_range": _range(self.pod_range),
            "service_range": _range(self.service_range),
        }
        for name, value in settled.items():
            msgspec.structs.force_setattr(self, name, value)
        if IPv4Network(self.pod_range).overlaps(IPv4Network(self.service_range)):
            raise ValueError(f"pod_range {self.pod_range} and service_range {self.service_range} overlap")

    @property
    def bridge(self) -> str:
        """The empty bridge that holds `bridge_address` and to which the service range is routed."""
        return f"bo-{self.name}"

    @property
    def bridge_address(self) -> str:
        """The host as pods see it: the first usable address of the service range."""
        return str(IPv4Network(self.service_range)[1])

    @property
    def dns_address(self) -> str:
        """Where cluster DNS listens, port 53."""
        return self.bridge_address

    @property
    def kubernetes_service_address(self) -> str:
        """The ClusterIP of Service default/kubernetes: the second usable address of the service range."""
        return str(IPv4Network(self.service_range)[2])

    @property
    def admin_kubeconfig(self) -> Path:
        """Written once the API is ready; cluster-admin by client certificate."""
        return self.state / "kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        """What controllers, pods, network and dns use: a client certificate of their own."""
        return self.state / "pki" / "node.kubeconfig"

    @property
    def pki(self) -> Path:
        """The folder of the node's CA, certificates and keys."""
        return self.state / "pki"

    @property
    def store(self) -> Path:
        """The SQLite file that holds every object."""
        return self.state / "store.sqlite"


def load_config(
    name: str,
    *,
    state_root: Path = DEFAULT_STATE,
    run_root: Path | None = None,
    api_port: int | None = None,
    host_addresses: tuple[str, ...] | None = None,
    pod_range: str | None = None,
    service_range: str | None = None,
    image_budget: int | None = None,
) -> NodeConfig:
    """Return the node's settings, made and saved at the first start, else read from `node.yaml`.

    `state_root` is the machine's state folder (`/var/lib/binderops`), `run_root` the folder of sockets (default:
    `$BINDEROPS_RUN`, else `/run/binderops`). Raises UsageError for a name, range or port that cannot be, or a range
    other than the kept one; StateError when `node.yaml` cannot be understood, OSError when it cannot be written.
    """
    _check_name(name)
    nodes = state_root / "nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    given = {"api_port": api_port, "host_addresses": host_addresses, "image_budget": image_budget}
    with locked(nodes):  # two nodes that start for the first time would choose the same ranges
        config = _settle(name, state_root, run_root, given, pod_range, service_range)
        _save(config)
    return config


def run_folder(name: str, run_root: Path | None = None) -> Path:
    """Where a node keeps what lasts while it runs, `NodeConfig.run`; UsageError for a name that cannot be."""
    _check_name(name)
    return (run_root or Path(os.environ.get("BINDEROPS_RUN", DEFAULT_RUN))) / name


def read_config(name: str, *, state_root: Path = DEFAULT_STATE, run_root: Path | None = None) -> NodeConfig:
    """Return the settings of a node that was started before, and write nothing; UsageError when there is none."""
    _check_name(name)
    path = state_root / "nodes" / name / "node.yaml"
    if not path.exists():
        raise UsageError(
            f"there is no node {name}", where=str(path), hint=f"start it: python -m binderops.node --name {name}"
        )
    return _settle(name, state_root, run_root)


def _check_name(name: str) -> None:
    try:
        valid_name(name)
    except ValueError as error:
        raise UsageError("this node cannot have that name", where=name, why=str(error)) from None


def _settle(
    name: str,
    state_root: Path,
    run_root: Path | None,
    given: Mapping[str, Any] = MappingProxyType({}),
    pod_range: str | None = None,
    service_range: str | None = None,
) -> NodeConfig:
    path = state_root / "nodes" / name / "node.yaml"
    kept = _read(path) if path.exists() else None
    settings: dict[str, Any] = dict(kept or {})
    settings.update(name=name, state=path.parent, run=run_folder(name, run_root))
    settings.update({key: value for key, value in given.items() if value is not None})
    settings.setdefault("image_stores", (state_root / "images" / "storage",))
    _settle_ranges(settings, kept, pod_range, service_range)
    try:
        return msgspec.convert(settings, NodeConfig, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise UsageError(f"node {name} cannot have these settings", where=str(path), why=str(error)) from None


def _settle_ranges(
    settings: dict[str, Any], kept: dict[str, Any] | None, pod_range: str | None, service_range: str | None
) -> None:
    for key, given in (("pod_range", pod_range), ("service_range", service_range)):
        if given is None:
            continue
        if kept and kept.get(key) not in {None, given}:
            raise UsageError(
                f"{key} of node {settings['name']} is {kept[key]} and stays",
                where=str(settings["state"] / "node.yaml"),
                why="addresses of stored Services and running pods come out of it",
                hint="remove the node, then start it with the other range",
            )
        settings[key] = given
    if settings.get("pod_range") and settings.get("service_range"):
        return
    taken = networks_in_use(ignore_device=f"bo-{settings['name']}") + _ranges_of_others(settings["state"])
    taken += [IPv4Network(settings[key]) for key in ("pod_range", "service_range") if settings.get(key)]
    pods, services = choose_ranges(taken)
    settings["pod_range"] = settings.get("pod_range") or str(pods)
    settings["service_range"] = settings.get("service_range") or str(services)


def _ranges_of_others(own_state: Path) -> list[IPv4Network]:
    """Ranges of the machine's other nodes, which have no routes while they are stopped."""
    found = []
    for path in own_state.parent.glob("*/node.yaml"):
        if path.parent != own_state:
            other = _read(path)
            found += [IPv4Network(other[key]) for key in ("pod_range", "service_range") if other.get(key)]
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StateError("a node's settings cannot be read", where=str(path), why=str(error)) from error
    if not isinstance(content, dict):
        raise StateError("a node's settings cannot be read", where=str(path), why="it holds no mapping")
    return content


def _save(config: NodeConfig) -> None:
    """Write `node.yaml` so that a crash leaves the old file or the new one, never half of one."""
    path = config.state / "node.yaml"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = msgspec.to_builtins(config, enc_hook=str)
    del content["state"], content["run"]
    text = "# Written by the node at its first start. The ranges stay as they are; remove the node to change them.\n"
    text += yaml.safe_dump(content, sort_keys=False)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    write_whole(path, text)
