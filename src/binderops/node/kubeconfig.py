"""The kubeconfig files that a node writes: the operator's, and the one of the node's own parts."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import yaml

from binderops.node.config import NodeConfig
from binderops.node.files import write_whole


def write_admin_kubeconfig(config: NodeConfig) -> None:
    """Write `STATE/nodes/NAME/kubeconfig`: who finds it can take the API for ready. OSError on a disk without room."""
    _write(_withdrawn(config), config, "admin")
    _withdrawn(config).replace(config.admin_kubeconfig)


def withdraw_admin_kubeconfig(config: NodeConfig) -> None:
    """Take back the word that the API is ready, by a rename: to give it again then wants no room on the disk."""
    with contextlib.suppress(FileNotFoundError):
        config.admin_kubeconfig.replace(_withdrawn(config))


def write_node_kubeconfig(config: NodeConfig) -> None:
    """Write what controllers, pods, network and dns use."""
    _write(config.node_kubeconfig, config, "node")


def _withdrawn(config: NodeConfig) -> Path:
    return config.admin_kubeconfig.with_name("kubeconfig.withdrawn")


def server_url(config: NodeConfig) -> str:
    """The API's URL as programs of this machine use it."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.api_address, config.api_address)
    return f"https://[{address}]:{config.api_port}" if ":" in address else f"https://{address}:{config.api_port}"


def _write(path: Path, config: NodeConfig, user: str) -> None:
    name = f"binderops-{config.name}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server_url(config), "certificate-authority-data": _data(config.pki / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": f"{name}-{user}",
                "user": {
                    "client-certificate-data": _data(config.pki / f"{user}.crt"),
                    "client-key-data": _data(config.pki / f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-{user}", "namespace": "default"}}],
        "current-context": name,
    }
    text = yaml.safe_dump(content, sort_keys=False)
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return  # a disk that takes no byte keeps no node from starting
    write_whole(path, text)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
