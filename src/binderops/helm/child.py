"""The child process that lets Helm talk to a cluster: one JSON request on standard input, one JSON answer on output.

Values travel by the pipe only: never an argument, a file or a variable. The chart comes as base64 of its archive. A
kubeconfig that is not a file of the machine's comes the same way, and lies in this process's memory alone.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Reads the request, runs its action, writes `{"result": …}` or `{"error": {"kind", "message"}}`."""
    request = json.load(sys.stdin)
    _end_with(request["parent"])
    import helm_python

    try:
        answer: dict[str, Any] = {"result": _run(helm_python, request)}
    except helm_python.HelmError as error:
        answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    return 0


def _run(helm: Any, request: dict[str, Any]) -> Any:
    config = helm.Config(
        kubeconfig_path=_kubeconfig(request["kubeconfig"]),
        kube_context=request.get("context"),
        namespace=request["namespace"],
        burst_limit=300,
        qps=200.0,
    )
    name, timeout = request["release"], request["timeout"]
    match request["action"]:
        case "deploy":
            return _deploy(helm, config, request)
        case "history":
            return config.history(name, max_revisions=request.get("max"))
        case "status":
            return config.status(name, revision=request.get("revision"))
        case "values":
            return config.get_values(name, all_values=True, revision=request.get("revision"))
        case "rollback":
            return config.rollback(name, version=request["revision"], timeout=timeout, wait="hookOnly")
        case "uninstall":
            return config.uninstall(name, timeout=timeout, ignore_not_found=True, wait="hookOnly")
        case "test":
            return config.test(name, timeout=timeout, logs=True)
        case action:
            raise ValueError(f"no such action: {action}")


def _end_with(parent: int) -> None:
    """Lets the kernel end this process with the one that asked: whoever settles what was cut off must be alone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)


def _deploy(helm: Any, config: Any, request: dict[str, Any]) -> Any:
    chart = helm.Chart.load_archive(base64.b64decode(request["chart"]))
    common = {
        "namespace": request["namespace"],
        "timeout": request["timeout"],
        # Readiness is our own stage: per object, with a reason (binderops.delivery.readiness).
        "wait": "hookOnly",
        "description": request.get("description"),
        "labels": request.get("labels"),
    }
    if request["install"]:
        return config.install(chart, request["release"], request["values"], create_namespace=True, **common)
    # Without reset_values and with empty values Helm would silently take the previous release's.
    return config.upgrade(
        chart,
        request["release"],
        request["values"],
        reset_values=True,
        max_history=request["max_history"],
        **common,
    )


def _kubeconfig(told: str | dict[str, Any]) -> str:
    """The path itself; for content, the path of a file in memory that ends with this process (memfd_create(2))."""
    if isinstance(told, str):
        return told
    memory = os.memfd_create("kubeconfig", os.MFD_CLOEXEC)
    with os.fdopen(memory, "w", encoding="utf-8", closefd=False) as file:
        json.dump(told, file)
    return f"/proc/self/fd/{memory}"


if __name__ == "__main__":
    sys.exit(main())
