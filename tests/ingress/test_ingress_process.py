"""The controller's program against a real API, with the chart's rights: what it tells, and how it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.ingress.authority import Authority, secret, served_names
from tests.ingress.process import LoopbackTarget, eventually, loopback_target
from tests.node_api import RunningApi

ANNOTATION = "nginx.ingress.kubernetes.io/"
MEMORY_MIB = 96  # resident, the Python process; 70 when this was written
POISON = "poison.test"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    running = RunningApi(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def target(
    running: RunningApi, tmp_path: Path, stock_programs: Any, authority: Authority
) -> AsyncIterator[LoopbackTarget]:
    """A target whose controller is not started yet."""
    name = "process-" + tmp_path.name[-20:].strip("-_").replace("_", "-").lower()
    async with loopback_target(
        tmp_path, running, stock_programs.helm, authority, namespace=name, start=False
    ) as target:
        yield target
        await target.delete_ingresses()


async def start(target: LoopbackTarget, *more: str, path: str | None = None) -> None:
    target.controller.start(f"--watch-namespace={target.namespace}", *more, path=path)
    await target.controller.ready()


def ingress(name: str, *hosts: str, annotations: dict[str, str] | None = None, tls: str | None = None) -> Any:
    backend = {"service": {"name": "a", "port": {"number": 8080}}}
    http = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    spec: dict[str, Any] = {"ingressClassName": "nginx", "rules": [{"host": host, "http": http} for host in hosts]}
    if tls:
        spec["tls"] = [{"hosts": list(hosts), "secretName": tls}]
    found = {ANNOTATION + key: value for key, value in (annotations or {}).items()}
    metadata = {"name": name, "annotations": found}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


async def put_secret(target: LoopbackTarget, name: str, *hosts: str, key: bytes | None = None) -> None:
    chain, own = target.authority.issue(*hosts)
    found = secret(name, (chain, own if key is None else key), namespace=target.namespace)
    del found["metadata"]["resourceVersion"]
    await target.apply({"apiVersion": "v1", "kind": "Secret", **found})


async def served(target: LoopbackTarget, host: str, status: int = 200) -> None:
    async def check() -> bool:
        return (await target.send(f"http://{host}/")).status_code == status

    await eventually(check, target.controller.log)


async def told(target: LoopbackTarget, about: str, reason: str, text: str) -> None:
    async def check() -> bool:
        return any(found[0] == reason and text in found[1] for found in await target.events(about))

    await eventually(check, target.controller.log)


async def names_become(target: LoopbackTarget, host: str, names: list[str]) -> None:
    async def check() -> bool:
        return await asyncio.to_thread(served_names, target.controller.https, host) == names

    await eventually(check, target.controller.log)


async def test_what_it_tells(target: LoopbackTarget) -> None:
    await target.echo("a")
    data = {"hsts": "true", "hsts-max-age": "600", "use-forwarded-headers": "true", "nonsense": "1"}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    await target.apply({**settings, "data": data})
    await put_secret(target, "pair", "a.test")
    await start(target)
    await target.apply(ingress("one", "a.test", annotations={"server-snippet": "evil;"}, tls="pair"))
    await served(target, "a.test", 308)
    await told(target, "one", "UnsupportedAnnotation", "server-snippet")
    await told(target, "settings", "UnsupportedSetting", "use-forwarded-headers is not honoured")
    await told(target, "settings", "UnsupportedSetting", "nonsense is not honoured: it is not known")
    answer = await target.send("https://a.test/")
    assert answer.headers["strict-transport-security"] == "max-age=600"

    async def addressed() -> bool:
        return await target.address_of("one") == [{"ip": "192.0.2.1"}]

    await eventually(addressed, target.controller.log)
    metrics = (await target.controller.get_health("/metrics")).text
    assert 'nginx_ingress_reloads_total{result="ok"}' in metrics
    assert f'certificate_expiry_timestamp_seconds{{namespace="{target.namespace}",secret="pair"}}' in metrics
    process = target.controller.process
    assert process is not None
    assert psutil.Process(process.pid).memory_info().rss < MEMORY_MIB << 20
    await target.apply({**settings, "data": {}})

    async def without_hsts() -> bool:
        return "strict-transport-security" not in (await target.send("https://a.test/")).headers

    await eventually(without_hsts, target.controller.log)


async def test_a_bad_secret_is_named_and_takes_nobody_down(target: LoopbackTarget) -> None:
    await target.echo("a")
    for name in ("good", "bad"):
        await put_secret(target, name, f"{name}.test")
    await start(target)
    for name in ("good", "bad"):
        await target.apply(ingress(name, f"{name}.test", tls=name))
        await names_become(target, f"{name}.test", [f"{name}.test"])
    await put_secret(target, "bad", "bad.test", key=b"no key")
    await told(target, "bad", "CertificateInvalid", "the last good one goes on being served")
    assert await asyncio.to_thread(served_names, target.controller.https, "bad.test") == ["bad.test"]
    await put_secret(target, "good", "good.test", "renewed.test")
    await names_become(target, "good.test", ["good.test", "renewed.test"])
    await put_secret(target, "bad", "bad.test", "mended.test")
    await names_become(target, "bad.test", ["bad.test", "mended.test"])


async def test_the_default_certificate(target: LoopbackTarget) -> None:
    await put_secret(target, "default", "default.test")
    await start(target, f"--default-ssl-certificate={target.namespace}/default")
    await names_become(target, "unknown.test", ["default.test"])


async def test_an_ingress_that_nginx_refuses_is_left_out_and_named(target: LoopbackTarget, tmp_path: Path) -> None:
    """Nothing that the parsers let through is refused by nginx, so the nginx of this test refuses one host more."""
    await target.echo("a")
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    wrapper = tmp_path / "bin" / "nginx"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$1" in -t) grep -q {POISON} "$4" && {{ echo refused for a test; exit 1; }};; esac\n'
        f'exec {nginx} "$@"\n'
    )
    wrapper.chmod(0o755)
    for number in range(4):
        await target.apply(ingress(f"good-{number}", f"good-{number}.test"))
    await target.apply(ingress("poison", POISON))
    await start(target, path=f"{wrapper.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    await served(target, "good-3.test")
    await told(target, "poison", "ConfigurationRefused", "refused for a test")
    await target.apply(ingress("later", "later.test"))
    await served(target, "later.test")
    assert await target.events("good-0") == []
    await target.apply(ingress("poison", "mended.test"))
    await served(target, "mended.test")


async def test_sigterm_lets_open_requests_end(target: LoopbackTarget) -> None:
    await target.echo("a")
    await target.apply(ingress("one", "a.test"))
    await start(target)
    await served(target, "a.test")
    reader, writer = await asyncio.open_connection("127.0.0.1", target.controller.http)
    writer.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab")
    await writer.drain()
    nginx = psutil.Process(target.controller.nginx)
    ending = asyncio.create_task(target.controller.stop())

    async def refused() -> bool:
        try:
            _, probe = await asyncio.open_connection("127.0.0.1", target.controller.http)
        except ConnectionRefusedError:
            return True
        probe.close()
        return False

    await eventually(refused, target.controller.log)
    writer.write(b"cd")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert await ending == 0
    assert not nginx.is_running()


async def test_when_nginx_is_killed_the_process_ends_with_a_reason(target: LoopbackTarget) -> None:
    await start(target)
    os.kill(target.controller.nginx, signal.SIGKILL)
    process = target.controller.process
    assert process is not None
    assert await asyncio.to_thread(process.wait, 20) == 1
    assert "nginx ended by itself" in target.controller.log()


async def test_a_taken_port_ends_the_process_with_a_reason(target: LoopbackTarget) -> None:
    server = await asyncio.start_server(lambda *_: None, "0.0.0.0", target.controller.http)
    async with server:
        target.controller.start()
        process = target.controller.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, 40) == 1
    assert "Address already in use" in target.controller.log()
    assert "nginx cannot be started" in target.controller.log()
