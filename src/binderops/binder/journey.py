"""From a request to a running server: the checks in the contract's order, the build where one is needed, the launch.

Every way to end is an event; nothing is raised to the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

import structlog

from binderops.binder.application import Binder
from binderops.binder.builds.explain import explain_text
from binderops.binder.builds.manifest import BuildRequest
from binderops.binder.events import Event, event, failed, has_failed
from binderops.binder.launches.launcher import Launched, LaunchRequest
from binderops.binder.naming import build_name, image_name
from binderops.binder.providers import AnyProvider
from binderops.binder.providers.base import Repository, Resolved
from binderops.binder.ratelimit import visitor_of
from binderops.errors import BinderOpsError, HubError, QuotaError, RegistryError, SpecError
from binderops.oci.references import Reference

log = structlog.get_logger(__name__)

# Browsers' event sources connect again, and would build again, when a server closes first.
LINGER_SECONDS = 60.0
HEAD_PAUSE_SECONDS = 10.0
_API_ONLY = (
    "Building but not launching is not permitted when the API only mode was not enabled by setting "
    "`enable_api_only_mode` to True. "
)


@dataclass(frozen=True)
class Asked:
    """One request for an environment, as it came."""

    prefix: str
    spec: str
    build_only: bool = False
    is_operator: bool = False
    has_build_token: bool = False
    client_address: str = ""
    launch_host: str = ""
    origin: str = ""
    request_origin: str = ""


@dataclass(frozen=True)
class _Target:
    provider: AnyProvider
    repository: Repository
    resolved: Resolved
    image: str


class Journey:
    """One request on its way."""

    def __init__(self, binder: Binder, asked: Asked) -> None:
        self._binder = binder
        self._asked = replace(asked, spec=asked.spec.rstrip("/"))
        self._labels = ("", "")

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events of this request, the last one `ready` or `failed`."""
        try:
            async for item in self._steps():
                yield item
        except QuotaError as error:
            self._count_launch(error.label)
            yield _refusal(error.what)
        except SpecError as error:
            yield _refusal(error.what)
        except HubError as error:
            log.warning("a launch failed", spec=self._asked.spec, error=str(error))
            self._count_launch("failure")
            yield _refusal(error.what, status_code=500)
        except BinderOpsError as error:
            log.error("a request failed", spec=self._asked.spec, error=str(error))
            yield _refusal(error.what, status_code=500)
        except Exception:
            log.exception("a request failed", spec=self._asked.spec)
            yield failed("Internal Server Error", status_code=500)

    async def _steps(self) -> AsyncGenerator[Event, None]:
        asked, settings = self._asked, self._binder.settings
        provider = self._provider()
        repository = provider.parse(asked.spec)
        if provider.is_banned(asked.spec):
            text = f"Sorry, {asked.spec} is not allowed to launch. Please contact admins for more info!"
            # Upstream's text has no newline at its end here, and clients compare it.
            yield {**_refusal(text), "message": text}
            return
        resolved = await self._resolve(provider, repository)
        if resolved is None:
            text, head = _unresolved(provider, repository, asked)
            if head is None:
                raise SpecError(text)
            repository, resolved = await self._resolve_head(provider, head, text)
            yield event(
                "waiting",
                f"{text}\nTrying again with HEAD instead of {asked.spec.split('/', 2)[-1]}. Please update your links.",
            )
            await asyncio.sleep(HEAD_PAUSE_SECONDS)
            self._asked = asked = replace(asked, spec=head)
        self._labels = (provider.metric_name, repository.url)
        identity = provider.identity(repository)
        image = image_name(settings.image_prefix, repository.slug, identity=identity, ref=resolved.ref)
        target = _Target(provider, repository, resolved, image)
        # Who joins a build need not ask the registry; thousands may at once.
        found = not self._binder.builds.runs(build_name(repository.slug, image)) and await self._find(image)
        if asked.build_only and not settings.binder.enable_api_only_mode:
            yield failed(_API_ONLY, status_code=400)
            return
        if found:
            if asked.build_only:
                yield event("ready", "Done! Found built image", imageName=image)
                return
            yield event("built", "Found built image, launching...", imageName=image)
            async for item in self._launch(target):
                yield item
            return
        self._check_quota(target)
        async for item in self._build(target):
            yield item

    def _provider(self) -> AnyProvider:
        binder, prefix = self._binder, self._asked.prefix
        provider = binder.providers.get(prefix)
        if provider is None and prefix == binder.local.display.id and self._asked.is_operator:
            provider = binder.local
        if provider is None:
            raise SpecError(f"No provider found for prefix {prefix}")
        return provider

    async def _resolve(self, provider: AnyProvider, repository: Repository) -> Resolved | None:
        try:
            key = ("resolve", self._asked.prefix, repository.spec)
            return await self._binder.sharing.ask(key, lambda: provider.resolve(repository))
        except BinderOpsError as error:
            log.info("a reference cannot be resolved", spec=repository.spec, error=str(error))
            raise SpecError(f"Error resolving ref for {self._asked.prefix}:{repository.spec}: {error.what}") from error

    async def _resolve_head(self, provider: AnyProvider, spec: str, text: str) -> tuple[Repository, Resolved]:
        repository = provider.parse(spec)
        resolved = await self._resolve(provider, repository)
        if resolved is None:
            raise SpecError(text)
        return repository, resolved

    async def _find(self, image: str) -> bool:
        name = Reference.parse(image)
        try:
            return await self._binder.sharing.ask(("find", image), lambda: self._head(name.repository, name.tag))
        except RegistryError as error:
            what = f"The image cannot be looked for: {error.what}"
            raise RegistryError(what, where=error.where, why=error.why, hint=error.hint) from error

    async def _head(self, repository: str, tag: str) -> bool:
        return await self._binder.images.head_manifest(repository, tag) is not None

    def _check_quota(self, target: _Target) -> None:
        settings = self._binder.settings
        quota = target.provider.quota(
            self._asked.spec,
            usual=settings.binder.per_repo_quota,
            higher=settings.binder.per_repo_quota_higher,
        )
        self._binder.servers.check(
            total=settings.quota.total_quota,
            image=target.image,
            repo_quota=quota,
            repo_url=target.repository.url,
        )

    async def _build(self, target: _Target) -> AsyncGenerator[Event, None]:
        request = BuildRequest(
            name=build_name(target.repository.slug, target.image),
            image=target.image,
            repo_url=target.repository.url,
            ref=target.resolved.ref,
            artifact=target.resolved.artifact,
            git_credentials=target.provider.git_credentials,
            fetch_tree=target.provider.tree_source(target.repository, target.resolved),
        )
        visitor = "" if self._asked.is_operator else visitor_of(self._asked.client_address)
        running = self._binder.builds.build(request, visitor=visitor)
        yield event("waiting", "Waiting for build to start...")
        said_failed = False
        async for item in running.watch():
            if has_failed(item):
                said_failed = True
                yield {**item, "explanation": running.explanation.to_json()}
            else:
                yield item
        outcome = await running.outcome()
        status = "success" if outcome.built else "failure"
        self._binder.metrics.build_count.count(status, *self._labels)
        if not outcome.built:
            if not said_failed:
                explanation = outcome.explanation.to_json() if outcome.explanation else {}
                yield failed(outcome.message, explanation=explanation)
            return
        if self._asked.build_only:
            yield event("ready", "Done! Image built", imageName=target.image)
        else:
            yield event("built", "Built image, launching...", imageName=target.image)
            async for item in self._launch(target):
                yield item
        await asyncio.sleep(LINGER_SECONDS)

    async def _launch(self, target: _Target) -> AsyncGenerator[Event, None]:
        asked, launched, started = self._asked, Launched(), time.monotonic()
        servers = self._binder.servers
        extra = {
            "binder_ref_url": target.resolved.ref_url,
            "binder_launch_host": asked.launch_host,
            "binder_request": f"v2/{asked.prefix}/{asked.spec}",
            "binder_persistent_request": f"v2/{asked.prefix}/{target.resolved.spec}",
            "binder_client_ip": asked.client_address,
        }
        request = LaunchRequest(target.image, target.repository.url, extra)
        self._check_quota(target)  # nothing is awaited from here until the launch counts
        with servers.starting(launched, target.image), self._binder.metrics.inprogress_launches.track_inprogress():
            async for item in self._binder.launcher.launch(request, launched):
                yield item
        self._count_launch("success")
        log.info(
            "launch",
            provider=target.provider.metric_name,
            spec=asked.spec,
            ref=target.resolved.ref,
            status="success",
            build_token=asked.has_build_token,
            origin=asked.origin,
            request_origin=asked.request_origin,
            seconds=round(time.monotonic() - started, 2),
            attempts=launched.attempts,
        )
        yield event(
            "ready",
            f"server running at {launched.url}",
            image=target.image,
            repo_url=target.repository.url,
            token=launched.token,
            url=launched.url,
            **extra,
        )

    def _count_launch(self, status: str) -> None:
        if all(self._labels):
            self._binder.metrics.launch_count.count(status, *self._labels)


def _unresolved(provider: AnyProvider, repository: Repository, asked: Asked) -> tuple[str, str | None]:
    text = f"Could not resolve ref for {asked.prefix}:{repository.spec}. "
    if repository.url.startswith("local:"):
        return text + "No folder was uploaded under this name: binderops launch PATH uploads one.", None
    text += "Double check your URL and that your repo is public."
    head = provider.head_instead(repository)
    if head is not None:
        if repository.ref == "master":
            text += ' GitHub has changed default branches from "master" to "main".'
        text += " Tip: HEAD will always resolve to a repository's default branch."
    return text, head


def _refusal(text: str, *, status_code: int | None = None) -> Event:
    item = failed(text)
    if status_code is not None:
        item["status_code"] = status_code
    if explanation := explain_text(text):
        item["explanation"] = explanation.to_json()
    return item
