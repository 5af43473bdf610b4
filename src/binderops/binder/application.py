"""The binder put together: its doors opened, its watches started, its parts given to one another."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog

from binderops.binder.builds.content import Content
from binderops.binder.builds.manager import Builds, Stores
from binderops.binder.builds.places import Places
from binderops.binder.builds.pods import Pods
from binderops.binder.builds.seeding import BaseSeeding
from binderops.binder.health import Health
from binderops.binder.launches.hub import Hub
from binderops.binder.launches.keeping import Keeping
from binderops.binder.launches.launcher import Launcher
from binderops.binder.launches.quota import Servers
from binderops.binder.metrics import Metrics
from binderops.binder.peers import Peers
from binderops.binder.providers import AnyProvider, make_provider, make_providers
from binderops.binder.ratelimit import RateLimit
from binderops.binder.settings import Settings
from binderops.binder.sharing import Sharing
from binderops.binder.tokens import BuildCredentials, PageTokens
from binderops.errors import RegistryError
from binderops.kube.client import Client
from binderops.oci.credentials import ANONYMOUS, Authorizer, Minting, Password, parse_docker_config
from binderops.oci.insisting import Patience
from binderops.oci.references import Reference, registry_of_url
from binderops.oci.registry import Registry
from binderops.oci.tokens import TokenSigner

log = structlog.get_logger(__name__)

_SYNC_SECONDS = 20.0
_SLOWEST_UPLOAD = 0.25e6  # bytes a second, by lines that lead to an operator's registry


@dataclass(frozen=True)
class Binder:
    """What every request is served with."""

    settings: Settings
    providers: dict[str, AnyProvider]
    local: AnyProvider
    """The provider of uploaded folders: the operator may use it where visitors may not."""
    local_token: str
    registry: Registry
    """The release's own, which builds push to and uploads lie in."""
    images: Registry
    """Where images are kept: the same one, or the operator's."""
    signer: TokenSigner | None
    pull_password: Password | None
    """Who may pull anything: the pull Secret of the release."""
    credentials: BuildCredentials | None
    pods: Pods
    servers: Servers
    builds: Builds
    launcher: Launcher
    health: Health
    metrics: Metrics
    page_tokens: PageTokens
    rate: RateLimit
    sharing: Sharing
    """Questions to registry and providers, asked once for all who wait."""
    peers: Peers
    """Whose word about a visitor's address is taken."""

    @property
    def findings(self) -> tuple[str, ...]:
        """What of the settings has no effect here, and why."""
        return self.settings.findings


@asynccontextmanager
async def open_binder(settings: Settings, kube: Client) -> AsyncIterator[Binder]:
    """A running binder; at the end its watches are stopped, and build pods run on."""
    metrics = Metrics()
    signer = _signer(settings)
    credentials = BuildCredentials(signer) if signer else None
    place = settings.place
    pods = Pods(kube, build_namespace=place.build_namespace, namespace=place.namespace, release=place.release)
    hub_token = settings.binder.hub_api_token or settings.place.hub_api_token
    hub = Hub(settings.hub_api_url, hub_token, retries=settings.launcher.retries)
    registry = _registry(settings, signer)
    images = _images(settings) or registry
    base = Reference.parse(settings.base_image).repository if settings.base_image else ""
    places = Places(registry, None if images is registry else images, base=base)
    stores = Stores(places, Content(settings, images))
    builds = Builds(settings, pods, stores, credentials, metrics)
    http = httpx.AsyncClient(timeout=httpx.Timeout(20.0, connect=5.0))
    providers = make_providers(settings, http, registry)
    local = make_provider("LocalRepoProvider", settings, http, registry)
    assert local is not None
    for finding in settings.findings:
        log.warning("setting", finding=finding)
    seeding = BaseSeeding(settings, pods, registry, places, credentials, metrics)
    peers = Peers(settings.trusted_proxies, kube, namespace=settings.place.namespace, release=settings.place.release)
    keeping = Keeping(registry, lambda: pods.users)
    works = {
        "pods": pods.run(),
        "cleaner": builds.clean_up(),
        "base": seeding.run(),
        "keeping": keeping.run(),
        "peers": peers.run(),
    }
    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    try:
        if not await pods.synced(_SYNC_SECONDS):
            log.error("the Kubernetes API did not list pods in time", seconds=_SYNC_SECONDS)
        yield Binder(
            settings=settings,
            providers=providers,
            local=local,
            local_token=_text(settings, "binder-local", "token"),
            registry=registry,
            images=images,
            signer=signer,
            pull_password=_pull_password(settings),
            credentials=credentials,
            pods=pods,
            servers=Servers(pods),
            builds=builds,
            launcher=Launcher(hub, settings.hub_url, settings.launcher, metrics),
            health=Health(images, settings.image_prefix, hub, pods, quota=settings.quota.total_quota),
            metrics=metrics,
            page_tokens=_page_tokens(settings),
            rate=RateLimit(limit=settings.rate.limit, period=settings.rate.period_seconds),
            sharing=Sharing(),
            peers=peers,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await builds.close()
        await hub.close()
        await registry.close()
        await images.close()
        await http.aclose()


def _page_tokens(settings: Settings) -> PageTokens:
    """With the secret that is set; else one made from the release's own, so that replicas and restarts share it."""
    given = settings.binder.build_token_secret or settings.place.build_token_secret
    own = _text(settings, "binder-local", "token")
    derived = hmac.digest(own.encode(), b"build tokens of pages", "sha256").hex() if own else ""
    return PageTokens.from_hex(
        given or derived,
        seconds=settings.binder.build_token_expires_seconds,
        check_origin=settings.binder.build_token_check_origin,
    )


def _signer(settings: Settings) -> TokenSigner | None:
    if not settings.registry.enabled:
        log.error("the release has no registry for builds to push to: what is not built cannot be launched")
        return None
    folder = settings.secret("registry-token")
    if not folder.is_dir():
        log.error("no key for registry tokens is mounted: nothing can be built", where=str(folder))
        return None
    return TokenSigner.load(folder)


def _registry(settings: Settings, signer: TokenSigner | None) -> Registry:
    # It speaks plain http, inside the cluster alone.
    authorizer: Authorizer = Minting(signer) if signer else _pull_password(settings) or ANONYMOUS
    return Registry(settings.build_registry, authorizer, insecure=True)


def _images(settings: Settings) -> Registry | None:
    """The operator's own registry; None where images stay in the release's."""
    host = settings.image_registry
    if host == settings.build_registry:
        return None
    password = _logins(settings, "docker", "config.json").get(host, ANONYMOUS)
    url = settings.registry.url or ""
    is_plain_http = url.startswith("http://") and registry_of_url(url) == host
    return Registry(host, password, insecure=is_plain_http, patience=Patience(slowest=_SLOWEST_UPLOAD))


def _pull_password(settings: Settings) -> Password | None:
    return _logins(settings, "registry-pull", ".dockerconfigjson").get(settings.build_registry)


def _logins(settings: Settings, folder: str, name: str) -> dict[str, Password]:
    text = _text(settings, folder, name)
    try:
        return parse_docker_config(text) if text else {}
    except RegistryError as error:
        log.error("a registry's password cannot be read", where=f"{folder}/{name}", error=str(error))
        return {}


def _text(settings: Settings, folder: str, name: str) -> str:
    file = settings.secret(folder) / name
    return file.read_text().strip() if file.is_file() else ""
