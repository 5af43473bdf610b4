"""The node's network: pods' links and addresses, Services, NetworkPolicies, published ports.

`ensure_base(config)` before anything listens on the bridge's address, `run(client, config, network)` for as long as
the node runs, `teardown(config)` when everything goes. The pods room uses `PodNetwork`.
"""

from __future__ import annotations

from binderops.node.network.base import ensure_base, teardown
from binderops.node.network.keeper import run
from binderops.node.network.pods import Attachment, PodNetwork

__all__ = ["Attachment", "PodNetwork", "ensure_base", "run", "teardown"]
