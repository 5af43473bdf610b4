"""GitHub: `user/repo/ref`, resolved by its REST API."""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from typing import ClassVar, TypeVar
from urllib.parse import quote, unquote

import httpx

from binderops.binder.builds.trees import FetchTree
from binderops.binder.providers.base import Display, Provider, Repository, Resolved
from binderops.binder.providers.snapshots import commit_by_git
from binderops.binder.traits import GitHubRepoProvider
from binderops.errors import GitError, SpecError

T = TypeVar("T")

_CACHE_SIZE = 1024
_MISSING_SECONDS = 300
_MOST_REDIRECTS = 3
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_RENAMED = frozenset({"master", "main"})


class GitHub(Provider[GitHubRepoProvider]):
    """Answers are cached by ETag, so that a known commit costs none of the API's rate limit."""

    metric_name: ClassVar[str] = "GitHub"
    display: ClassVar[Display] = Display(
        name="GitHub",
        id="gh",
        validate_regex=r"[^/]+/[^/]+/.+",
        detect=r"^(https?://github.com/)?(?<repo>.*[^/])/?",
        label="GitHub repository name or URL",
        placeholder="example: yuvipanda/requirements or https://github.com/yuvipanda/requirements",
    )

    def __init__(self, traits: GitHubRepoProvider, client: httpx.AsyncClient) -> None:
        super().__init__(traits, client)
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._missing: OrderedDict[str, float] = OrderedDict()
        self.remaining: int | None = None
        """What the API said of its rate limit at last."""

    @property
    def git_credentials(self) -> str:
        """Made from the access token where none are set, in upstream's form (a backslash and an n)."""
        traits = self.traits
        if traits.git_credentials or not traits.access_token:
            return traits.git_credentials
        if traits.client_id:
            return rf"username={traits.client_id}\npassword={traits.access_token}"
        return rf"username={traits.access_token}\npassword=x-oauth-basic"

    def parse(self, spec: str) -> Repository:
        """Split `user/repo/ref`; the reference may hold slashes."""
        parts = spec.split("/", 2)
        if len(parts) < 3 or not all(parts):
            text = f'Spec is not of the form "user/repo/ref", provided: "{spec}".'
            if len(parts) == 2 and parts[1] not in {*_RENAMED, "HEAD"}:
                text += f' Did you mean "{spec}/HEAD"?'
            raise SpecError(text)
        user, repo, ref = (unquote(part) for part in parts)
        repo = repo.removesuffix(".git")
        if not all(_NAME.fullmatch(part) and part.strip(".") for part in (user, repo)):
            raise SpecError(f'"{user}/{repo}" is not the name of a GitHub repository.')
        return Repository(spec, f"https://{self.traits.hostname}/{user}/{repo}", ref, f"{user}-{repo}")

    async def resolve(self, repository: Repository) -> Resolved | None:
        """Ask the API for the commit."""
        name = "/".join(repository.url.rsplit("/", 2)[-2:])
        base = self.traits.api_base_path.format(hostname=self.traits.hostname)
        commit = await self._commit(f"{base}/repos/{name}/commits/{quote(repository.ref, safe='')}")
        return Resolved(commit, f"{name}/{commit}", f"{repository.url}/tree/{commit}") if commit else None

    def tree_source(self, repository: Repository, resolved: Resolved) -> FetchTree | None:
        """The commit alone, by git."""
        return commit_by_git(repository.url, resolved.ref, credentials=self.git_credentials)

    def head_instead(self, repository: Repository) -> str | None:
        """GitHub renamed default branches: links to the old name would end here."""
        if repository.ref not in _RENAMED:
            return None
        return "/".join([*repository.spec.split("/")[:2], "HEAD"])

    async def _commit(self, url: str) -> str | None:
        if self._missing.get(url, 0) > time.monotonic():
            return None
        etag, known = self._known.get(url, ("", ""))
        answer = await self._ask(url, etag)
        if answer.status_code == 304:
            self._known.move_to_end(url)
            return known
        if answer.status_code in {404, 422}:
            _remember(self._missing, url, time.monotonic() + _MISSING_SECONDS)
            return None
        if answer.status_code != 200:
            raise self._refused(answer)
        commit = answer.json().get("sha")
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise GitError("GitHub's answer holds no commit", where=url)
        if answer.headers.get("etag"):
            _remember(self._known, url, (answer.headers["etag"], commit))
        return commit

    async def _ask(self, url: str, etag: str) -> httpx.Response:
        traits = self.traits
        headers = {"User-Agent": "BinderHub", "Accept": "application/vnd.github+json"}
        if etag:
            headers["If-None-Match"] = etag
        basic = (traits.client_id, traits.client_secret) if traits.client_id and traits.client_secret else None
        if traits.access_token:
            headers["Authorization"] = f"token {traits.access_token}"
            basic = None
        try:
            answer = await self._client.get(url, headers=headers, auth=basic)
            for _ in range(_MOST_REDIRECTS):
                # A repository of another name now; never another host, which would be asked in our name.
                if not answer.next_request or answer.next_request.url.host != answer.url.host:
                    break
                answer = await self._client.send(answer.next_request)
        except httpx.HTTPError as error:
            raise GitError(f"GitHub cannot be reached ({type(error).__name__})", where=url, why=str(error)) from error
        if answer.headers.get("x-ratelimit-remaining", "").isdigit():
            self.remaining = int(answer.headers["x-ratelimit-remaining"])
        return answer

    def _refused(self, answer: httpx.Response) -> GitError:
        if answer.status_code == 403 and answer.headers.get("x-ratelimit-remaining") == "0":
            seconds = float(answer.headers.get("x-ratelimit-reset", 0)) - time.time()
            minutes = max(5, 5 * math.ceil(seconds / 300))
            return GitError(f"GitHub rate limit exceeded. Try again in {minutes} minutes.")
        return GitError(f"GitHub answered {answer.status_code}", where=str(answer.request.url))


def _remember(cache: OrderedDict[str, T], key: str, value: T) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > _CACHE_SIZE:
        cache.popitem(last=False)
