"""`python -m binderops.binder`: the service, until it is told to stop. Build pods run on without it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

import structlog

from binderops import logs
from binderops.authorities import ADDED_VARIABLE, trust_added_authorities
from binderops.binder.application import open_binder
from binderops.binder.serving import listener, serve_until_told
from binderops.binder.settings import Settings, load
from binderops.binder.web.app import make_app, make_token_app
from binderops.errors import BinderOpsError
from binderops.kube.client import Client
from binderops.memory import give_back, keep_apart

log = structlog.get_logger(__name__)

GIVE_BACK_SECONDS = 60.0
"""Between two looks at how much memory there is: each whole collection keeps all viewers waiting for a moment."""


def main() -> int:
    """Read the arguments, serve, and say in one line why that was not possible."""
    parser = argparse.ArgumentParser(prog="binderops.binder", description="The BinderHub service.")
    parser.add_argument("--config-dir", type=Path, default=Path("/etc/binderhub/config"), help="holds values.yaml")
    parser.add_argument("--port", type=int, default=8585)
    parser.add_argument("--token-port", type=int, default=8586, help="of the registry's token server")
    parser.add_argument("--kubeconfig", type=Path, help="instead of the pod's own ServiceAccount")
    arguments = parser.parse_args()
    trust_machine(os.environ, arguments.config_dir.parent)
    try:
        settings = load(arguments.config_dir)
        start_log(debug=settings.binder.debug)
        keep_apart()
        collect_rarely()
        ports = Ports(arguments.port, arguments.token_port)
        number = asyncio.run(serve(settings, ports, arguments.kubeconfig))
    except BinderOpsError as error:
        log.error("the binder cannot run", reason=str(error), id=error.reference)
        return 1
    return 128 + number  # as a shell says it of a program that a signal ended


def start_log(*, debug: bool) -> None:
    """Log, with `debug` also what only whoever looks for a fault wants to read."""
    logs.configure(level=logging.DEBUG if debug else logging.INFO)


def collect_rarely() -> None:
    """Have the garbage collector look rarely at all objects: with thousands of viewers, everyone waits meanwhile.

    So rarely that `give_back` looks instead, when memory has grown: launches leave what only a whole look finds.
    """
    gc.set_threshold(10_000, 20, 100)


def trust_machine(environment: MutableMapping[str, str], root: Path) -> None:
    """Have git and HTTPS clients trust what the machine's network adds (`global.machine.caCertificates`)."""
    environment.setdefault(ADDED_VARIABLE, str(root / "machine" / "ca.crt"))
    trust_added_authorities(environment, Path(tempfile.gettempdir()) / "authorities.crt")


async def serve(settings: Settings, ports: Ports, kubeconfig: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the number of the signal."""
    client = Client.from_kubeconfig(kubeconfig) if kubeconfig else Client.in_cluster()
    async with client as kube, open_binder(settings, kube) as binder:
        log.info(
            "binder is serving",
            port=ports.web,
            token_port=ports.token,
            namespace=settings.place.namespace,
            prefix=settings.image_prefix,
        )
        web, tokens = listener(make_app(binder), ports.web), listener(make_token_app(binder), ports.token)
        shrinking = asyncio.create_task(give_back(every=GIVE_BACK_SECONDS), name="memory")
        try:
            return await serve_until_told(web, tokens)
        finally:
            shrinking.cancel()


class Ports(NamedTuple):
    """Where the binder listens."""

    web: int
    token: int


if __name__ == "__main__":
    sys.exit(main())
