"""The path from a host's port 80 to the solver: an Ingress for its prefix, and a check that it leads here.

It stands before an order is placed, and goes when the order is done, whatever its end.

A proxy is behind: for a moment it still serves the path of the order before, which is being taken away. So each path
has a mark, an address beside the prefix that no path of before had, and leads through a Service that none led through:
a proxy that leads the mark here serves this path, and not what is about to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

import httpx2
import structlog

from binderops.errors import AlreadyExistsError, KubernetesError, NotFoundError, SelfCheckError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import ENDPOINT_SLICE, INGRESS, SERVICE, Kind, Object
from binderops.kube.objects import Key, annotations_of, key_of, labels_of, owner_reference
from binderops.lego.pairs import is_address
from binderops.lego.settings import Settings
from binderops.lego.solver import MARK, PREFIX, Solver
from binderops.lego.wanted import Wanted

log = structlog.get_logger(__name__)

SOLVER_NAME = "kube-lego-solver"
_LABELS = {names.MANAGED_BY: names.KUBE_LEGO, names.COMPONENT: "solver"}
SELECTOR = ",".join(f"{key}={value}" for key, value in _LABELS.items())
_PAUSE = 0.5  # seconds between self-checks of one host
_REQUEST_SECONDS = 10.0
_REDIRECTS = 10  # as the public CAs allow
_CLEAN_SECONDS = 10.0
_MARK_PART = 0.5  # of the self-check's time; after it the prefix is enough: a proxy in front may pass on nothing else


class Challenges:
    """Opens and closes paths; `solver` answers at their end."""

    def __init__(self, client: Client, settings: Settings, solver: Solver) -> None:
        self._client = client
        self._settings = settings
        self._solver = solver
        self._open: dict[str, int] = defaultdict(int)  # how many paths of a namespace lead through its Service
        self._services: dict[str, str] = {}  # its name: another one each time that the first path is opened
        self._shared = asyncio.Lock()  # the last one to leave removes the Service, the next one makes it
        self._closing: dict[Key, asyncio.Task[None]] = {}  # by Ingress
        # A CA does not look at certificates on its way through redirects, and there may be none yet.
        # No connection is kept: the same proxy would answer again, and say nothing about the others.
        self._http = httpx2.AsyncClient(
            verify=False,
            follow_redirects=True,
            max_redirects=_REDIRECTS,
            timeout=_REQUEST_SECONDS,
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Close paths and connections."""
        if self._closing:
            await asyncio.wait(self._closing.values())
        await self._http.aclose()

    @asynccontextmanager
    async def path(self, wanted: Wanted, ingress: Object) -> AsyncIterator[None]:
        """The path for all of a certificate's names, while inside. SelfCheckError where it does not lead here."""
        namespace, key = wanted.namespace, (wanted.namespace, _ingress_name(wanted))
        if key in self._closing:  # of an order that was given up: its end must not take this one's Ingress
            await asyncio.wait([self._closing[key]])
        self._open[namespace] += 1
        mark = MARK + secrets.token_hex(8)
        try:
            async with self._shared:
                service = self._services.setdefault(namespace, f"{SOLVER_NAME}-{secrets.token_hex(4)}")
                await self._ensure(self._service(namespace, service))
                await self._ensure(self._slice(namespace, service))
            await self._ensure(_ingress(wanted, ingress, service=service, mark=mark))
            await self._check_all(wanted.names, mark)
            yield
        finally:
            self._open[namespace] -= 1
            # Also when this task is cancelled, once or twice: what was opened is closed.
            closing = self._closing[key] = asyncio.create_task(self._clean(wanted))
            closing.add_done_callback(lambda _: self._closing.pop(key, None))
            await asyncio.shield(closing)

    @contextlib.contextmanager
    def answering(self, host: str, token: str, answer: str) -> Iterator[None]:
        """The solver answers a token while inside."""
        with self._answering(host, PREFIX + token, answer):
            yield

    async def sweep(self) -> None:
        """Remove what a killed process left: paths of orders that nobody works on yet are opened again when needed."""
        for kind in (INGRESS, ENDPOINT_SLICE, SERVICE):
            for found in (await self._client.list(kind, self._settings.watch_namespace, labels=SELECTOR)).items:
                await self._remove(kind, key_of(found))

    @contextlib.contextmanager
    def _answering(self, host: str, path: str, answer: str) -> Iterator[None]:
        self._solver.put(host, path, answer)
        try:
            yield
        finally:
            self._solver.drop(host, path)

    # --- the check ------------------------------------------------------------------------------------------------

    async def _check_all(self, hosts: Iterable[str], mark: str) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._check(host, mark)) for host in hosts]
        failed = [error for task in tasks if (error := task.result()) is not None]
        if failed:
            raise failed[0]

    async def _check(self, host: str, mark: str) -> SelfCheckError | None:
        """None after enough passes in a row; what the last answer was where time ran out before."""
        path, answer = f"{PREFIX}selftest-{secrets.token_urlsafe(16)}", secrets.token_urlsafe(24)
        place = self._settings.self_check_address or (f"[{host}]" if is_address(host) and ":" in host else host)
        began = time.monotonic()
        deadline = began + self._settings.self_check_seconds
        mark_counts_until = began + self._settings.self_check_seconds * _MARK_PART
        passes, why = 0, ""
        with self._answering(host, path, answer), self._answering(host, mark, answer):
            while passes < self._settings.self_check_passes:
                # The mark first: what is asked after it is answered by this path, or by one that is newer still.
                asked = [mark, path] if time.monotonic() < mark_counts_until else [path]
                for each in asked:
                    why = await self._ask(f"http://{place}{each}", host, answer)
                    if why:
                        break
                passes = passes + 1 if not why else 0
                if why and time.monotonic() > deadline:
                    return SelfCheckError(
                        f"http://{host}{PREFIX} does not lead to the solver: no order was placed",
                        reason="selfCheck",
                        where=host,
                        why=why,
                        hint="look at the host's DNS record, and whether the ingress controller serves it on port 80",
                    )
                if passes < self._settings.self_check_passes:
                    await asyncio.sleep(_PAUSE)
        return None

    async def _ask(self, url: str, host: str, answer: str) -> str:
        """What was wrong with the answer ("" if nothing); its content is not repeated."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                async with self._http.stream("GET", url, headers={"Host": host}) as response:
                    body = b""
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > len(answer):
                            break
                    if response.status_code == 200 and body.strip() == answer.encode():
                        return ""
                    where = f" after redirects to {response.url.host}" if response.history else ""
                    told = "another body" if response.status_code == 200 else f"status {response.status_code}"
                    return f"it was answered with {told}{where}"
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            return f"no answer: {str(error) or type(error).__name__}"

    # --- objects --------------------------------------------------------------------------------------------------

    async def _ensure(self, obj: Object) -> None:
        """Create, or bring to what it should be if it is ours."""
        kind = {"Ingress": INGRESS, "Service": SERVICE, "EndpointSlice": ENDPOINT_SLICE}[obj["kind"]]
        namespace, name = key_of(obj)
        try:
            await self._client.create(obj)
            return
        except AlreadyExistsError:
            found = await self._client.get(kind, name, namespace)
        if labels_of(found).get(names.MANAGED_BY) != names.KUBE_LEGO:
            raise SelfCheckError(
                f"the {kind.kind} {name} was made by somebody else",
                reason="notOurs",
                where=f"{namespace}/{name}",
                hint="rename or delete it",
            )
        changed = {key: obj[key] for key in ("spec", "endpoints", "ports") if key in obj}
        meta = {"ownerReferences": obj["metadata"].get("ownerReferences"), "annotations": annotations_of(obj) or None}
        await self._client.patch(kind, name, namespace, {"metadata": meta, **changed})

    def _service(self, namespace: str, name: str) -> Object:
        """Without a selector: in any namespace, whatever pod is at work."""
        ports = [{"name": "http", "port": 80, "targetPort": self._settings.port, "protocol": "TCP"}]
        metadata = {"name": name, "namespace": namespace, "labels": dict(_LABELS)}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}

    def _slice(self, namespace: str, name: str) -> Object:
        labels = {
            **_LABELS,
            "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": "kube-lego",
        }
        address = self._settings.solver_address
        return {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "addressType": "IPv6" if ":" in address else "IPv4",
            "ports": [{"name": "http", "port": self._settings.port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        }

    async def _clean(self, wanted: Wanted) -> None:
        try:
            async with asyncio.timeout(_CLEAN_SECONDS):
                await self._remove_ours(INGRESS, (wanted.namespace, _ingress_name(wanted)))
                async with self._shared:
                    if not self._open[wanted.namespace] and (name := self._services.pop(wanted.namespace, "")):
                        await self._remove(ENDPOINT_SLICE, (wanted.namespace, name))
                        await self._remove(SERVICE, (wanted.namespace, name))
        except (KubernetesError, TimeoutError) as error:  # swept at the next start
            why = str(error) or f"it took more than {_CLEAN_SECONDS:.0f} s"
            log.warning("a challenge's path could not be removed", secret=wanted.secret_name, error=why)

    async def _remove_ours(self, kind: Kind, key: Key) -> None:
        with contextlib.suppress(NotFoundError):
            if labels_of(await self._client.get(kind, key[1], key[0])).get(names.MANAGED_BY) == names.KUBE_LEGO:
                await self._client.delete(kind, key[1], key[0])

    async def _remove(self, kind: Kind, key: Key) -> None:
        with contextlib.suppress(NotFoundError):
            await self._client.delete(kind, key[1], key[0])


def _ingress_name(wanted: Wanted) -> str:
    digest = hashlib.sha256(wanted.secret_name.encode()).hexdigest()[:10]
    return f"kube-lego-{wanted.secret_name[:40].rstrip('-.')}-{digest}"


def _ingress(wanted: Wanted, owner: Object, *, service: str, mark: str) -> Object:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [
        {"path": PREFIX.rstrip("/"), "pathType": "Prefix", "backend": backend},
        {"path": mark, "pathType": "Exact", "backend": backend},
    ]
    annotations = {f"nginx.ingress.kubernetes.io/{key}": "false" for key in ("ssl-redirect", "force-ssl-redirect")}
    spec: Object = {
        "rules": [{"host": host, "http": {"paths": paths}} for host in wanted.names if not is_address(host)]
    }
    if any(is_address(host) for host in wanted.names):
        spec["rules"].append(
            {"http": {"paths": paths}}
        )  # Ingress knows no addresses: any host's, for as long as it takes
    if wanted.challenge_class and wanted.class_by_annotation:
        annotations["kubernetes.io/ingress.class"] = wanted.challenge_class
    elif wanted.challenge_class:
        spec["ingressClassName"] = wanted.challenge_class
    return {
        "apiVersion": INGRESS.api_version,
        "kind": "Ingress",
        "metadata": {
            "name": _ingress_name(wanted),
            "namespace": wanted.namespace,
            "labels": dict(_LABELS),
            "annotations": annotations,
            "ownerReferences": [owner_reference(owner, controller=False)],
        },
        "spec": spec,
    }
