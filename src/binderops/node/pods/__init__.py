"""The kubelet's half of the node: pods, run by Podman, and reported to the Kubernetes API.

`run(client, config, network)` keeps going until it is cancelled; containers run on then, and are found again.
`prepare(config)` starts the engine ahead of that; `stop(config)` ends them.

    manager   a worker for each pod, adoption after a restart, volumes that follow the API
    worker    one pod: what to do next, and its status
    containers, starting, ending, units    one container
    actions, probes, sessions    what is asked of a container, and ended where no answer comes in time
    leaving   what a pod had is given back, as often as it takes
    sandbox   a pod's network and volumes
    engine    Podman's service and its events
    binding, admission    which pods run here
    kubelet/  logs, exec and attach, for the API server
"""

from __future__ import annotations

from binderops.node.pods.running import prepare, run
from binderops.node.pods.stopping import stop

__all__ = ["prepare", "run", "stop"]
