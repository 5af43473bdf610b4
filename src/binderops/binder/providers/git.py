"""Any git repository: `<quoted url>/<quoted ref>`, resolved by git itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

import httpx

from binderops.binder.builds.trees import FetchTree, GitTree, Tree
from binderops.binder.providers.base import Display, Provider, Repository, Resolved
from binderops.binder.traits import GitRepoProvider
from binderops.errors import GitError, SpecError
from binderops.git.hosts import InternalHost
from binderops.git.remote import RemoteUrl, check_ref, is_commit, ls_remote
from binderops.git.snapshots import fetch

_AT_ONCE = 8


class Git(Provider[GitRepoProvider]):
    """Whatever answers git's own protocols."""

    metric_name: ClassVar[str] = "Git"
    display: ClassVar[Display] = Display(
        name="Git repository",
        id="git",
        validate_regex=r"[^/]+/.+",
        label="Arbitrary git repository URL",
        placeholder="example: https://git.example.org/group/project",
        url_encode=True,
    )

    def __init__(
        self, traits: GitRepoProvider, client: httpx.AsyncClient, internal_hosts: Sequence[InternalHost] = ()
    ) -> None:
        super().__init__(traits, client)
        self._internal_hosts = internal_hosts
        # A server that answers slowly, or without end, holds one; each may take as much memory as git is given.
        self._asking = asyncio.Semaphore(_AT_ONCE)

    def parse(self, spec: str) -> Repository:
        """Split at the first slash: those of the URL are encoded."""
        quoted, _, quoted_ref = spec.partition("/")
        ref = unquote(quoted_ref)
        if not ref:
            raise SpecError("`unresolved_ref` must be specified in the query for the git provider")
        try:
            url = RemoteUrl.parse(unquote(quoted), protocols=self.traits.allowed_protocols)
            check_ref(ref)
        except GitError as error:
            raise SpecError(error.what) from error
        return Repository(spec, url.text, ref, url.text)

    async def resolve(self, repository: Repository) -> Resolved | None:
        """A whole commit is taken as it is, and no host is asked; everything else is asked for."""
        ref: str | None = repository.ref
        if not is_commit(repository.ref):
            url = RemoteUrl.parse(repository.url, protocols=self.traits.allowed_protocols)
            try:
                async with self._asking:
                    ref = await ls_remote(url, repository.ref, internal=self._internal_hosts)
            except GitError as error:
                text = f"Unable to run git ls-remote to get the `resolved_ref`: {error.what}"
                raise GitError(text, where=error.where, why=error.why) from error
        return Resolved(ref, f"{quote(repository.url, safe='')}/{ref}", repository.url) if ref else None

    def tree_source(self, repository: Repository, resolved: Resolved) -> FetchTree | None:
        """The commit alone, from a host that visitors may name."""
        url = RemoteUrl.parse(repository.url, protocols=self.traits.allowed_protocols)

        async def fetch_tree(folder: Path) -> Tree:
            credentials = self.git_credentials
            return GitTree(
                await fetch(url, resolved.ref, folder, internal=self._internal_hosts, credentials=credentials)
            )

        return fetch_tree
