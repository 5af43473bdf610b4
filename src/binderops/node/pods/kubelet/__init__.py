"""The kubelet's endpoint: logs, exec and attach of containers, over HTTPS for the API server alone."""

from __future__ import annotations

from binderops.node.pods.kubelet.server import serve

__all__ = ["serve"]
