"""`python -m binderops.lego`: the controller's program, run in its pod (or, for tests, with --kubeconfig).

LEGO_EMAIL, LEGO_URL, LEGO_PORT, LEGO_LOG_LEVEL and LEGO_SUPPORTED_INGRESS_CLASS come from the environment, as kube-lego
has them; so do POD_NAME, POD_NAMESPACE and POD_IP.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog

from binderops import logs
from binderops.authorities import trust_added_authorities
from binderops.errors import BinderOpsError, UsageError
from binderops.kube.client import Client
from binderops.kube.programs import until_stopped
from binderops.lego.controller import run
from binderops.lego.settings import DEFAULT_ISSUER, Settings, read_issuers

log = structlog.get_logger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM; 1 when the settings are wrong."""
    options = _parser().parse_args(argv)
    level = os.environ.get("LEGO_LOG_LEVEL", "info").upper()
    number = logging.getLevelNamesMapping().get(level, logging.INFO)
    logs.configure(level=number)
    trust_added_authorities(os.environ, Path(tempfile.gettempdir()) / "authorities.crt")
    try:
        settings = _settings(options, os.environ)
        asyncio.run(_until_stopped(settings, options.kubeconfig))
    except BinderOpsError as error:
        log.error("ended", error=str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m binderops.lego", description=__doc__)
    parser.add_argument("--issuers", type=Path, help="a file of issuers besides the default one ({name: issuer})")
    parser.add_argument("--default-issuer", default=DEFAULT_ISSUER, help="who signs where an Ingress names nobody")
    parser.add_argument("--watch-namespace", help="only this namespace's Ingresses (default: all)")
    parser.add_argument("--solver-address", help="where the ingress controller reaches this process (default: POD_IP)")
    parser.add_argument("--self-check-address", default="", help="HOST:PORT that self-checks connect to")
    parser.add_argument("--self-check-passes", type=int, default=3, help="right answers in a row that are needed")
    parser.add_argument("--kubeconfig", type=Path, help="outside a pod")
    return parser


def _settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    issuers = read_issuers(environment, options.issuers)
    if options.default_issuer not in issuers:
        known = ", ".join(sorted(issuers))
        raise UsageError(f"there is no issuer {options.default_issuer!r}", why=f"declared are {known}")
    port = environment.get("LEGO_PORT") or "8080"
    if not port.isdecimal():
        raise UsageError("the port is not a number", where="LEGO_PORT", why=repr(port))
    classes = environment.get("LEGO_SUPPORTED_INGRESS_CLASS", "")
    return Settings(
        issuers=issuers,
        namespace=environment.get("POD_NAMESPACE") or "default",
        identity=environment.get("POD_NAME") or socket.gethostname(),
        default_issuer=options.default_issuer,
        watch_namespace=options.watch_namespace,
        classes=tuple(each.strip() for each in classes.split(",") if each.strip()),
        solver_address=options.solver_address or environment.get("POD_IP") or "127.0.0.1",
        port=int(port),
        self_check_address=options.self_check_address,
        self_check_passes=options.self_check_passes,
    )


async def _until_stopped(settings: Settings, kubeconfig: Path | None) -> None:
    client = Client.from_kubeconfig(kubeconfig, field_manager="kube-lego") if kubeconfig else Client.in_cluster()
    async with client:
        await until_stopped(run(client, settings))


if __name__ == "__main__":
    sys.exit(main())
