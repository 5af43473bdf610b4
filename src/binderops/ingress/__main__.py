"""`python -m binderops.ingress`: the controller's program, run in its pod (or, for tests, with --kubeconfig)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import structlog

from binderops import logs
from binderops.errors import BinderOpsError
from binderops.ingress.controller import Arguments, run
from binderops.ingress.routing import Key
from binderops.kube.client import Client
from binderops.kube.programs import until_stopped

log = structlog.get_logger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Runs until SIGTERM; 1 when nginx or the API made it impossible to go on."""
    options = _parser().parse_args(argv)
    logs.configure()
    arguments = Arguments(
        ingress_class=options.ingress_class,
        watch_namespace=options.watch_namespace,
        publish_service=options.publish_service,
        default_backend_service=options.default_backend_service,
        default_ssl_certificate=options.default_ssl_certificate,
        configmap=options.configmap,
        folder=options.folder,
        certificates=options.certificates,
        http_port=options.http_port,
        https_port=options.https_port,
        public_tls_port=options.public_tls_port,
        health_port=options.health_port,
        metrics_port=options.metrics_port,
    )
    try:
        asyncio.run(_until_stopped(arguments, options.kubeconfig))
    except BinderOpsError as error:
        log.error("ended", error=str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m binderops.ingress", description=__doc__)
    parser.add_argument("--ingress-class", default="nginx", help="the class that is served")
    parser.add_argument("--watch-namespace", help="only this namespace's Ingresses (default: all)")
    for flag, said in (
        ("--publish-service", "the Service whose addresses Ingresses get as their status"),
        ("--default-backend-service", "the Service that serves unknown hosts"),
        ("--default-ssl-certificate", "the Secret that serves names without a certificate of their own"),
        ("--configmap", "the controller's settings"),
    ):
        parser.add_argument(flag, type=_object, metavar="NAMESPACE/NAME", help=said)
    parser.add_argument("--kubeconfig", type=Path, help="outside a pod")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/nginx"), help="nginx's own folder")
    parser.add_argument("--certificates", type=Path, help="a folder for keys, on a tmpfs (default: in --folder)")
    parser.add_argument("--public-tls-port", type=int, default=0, help="https, as browsers see it; 0: no TLS")
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--https-port", type=int, default=8443)
    parser.add_argument("--health-port", type=int, default=9913, help="/healthz and /metrics")
    parser.add_argument("--metrics-port", type=int, default=9914, help="on loopback, behind the health port")
    return parser


def _object(text: str) -> Key:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name


async def _until_stopped(arguments: Arguments, kubeconfig: Path | None) -> None:
    client = Client.from_kubeconfig(kubeconfig) if kubeconfig else Client.in_cluster()
    async with client:
        await until_stopped(run(client, arguments))


if __name__ == "__main__":
    sys.exit(main())
