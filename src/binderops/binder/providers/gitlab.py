"""GitLab: `<quoted group/project>/<quoted ref>`, resolved by its REST API (https://docs.gitlab.com/api/commits/)."""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import quote, unquote

import httpx

from binderops.binder.builds.trees import FetchTree
from binderops.binder.providers.base import Display, Provider, Repository, Resolved
from binderops.binder.providers.snapshots import commit_by_git
from binderops.binder.traits import GitLabRepoProvider
from binderops.errors import GitError, SpecError
from binderops.git.remote import is_commit

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class GitLab(Provider[GitLabRepoProvider]):
    """gitlab.com, or an instance of one's own (`hostname`)."""

    metric_name: ClassVar[str] = "GitLab"
    display: ClassVar[Display] = Display(
        name="GitLab",
        id="gl",
        validate_regex=r"[^/]+/.+",
        detect=r"^(https?://gitlab.com/)?(?<repo>.*[^/])/?",
        label="GitLab repository name or URL",
        placeholder="example: group/project or https://gitlab.com/group/project",
        url_encode=True,
    )

    @property
    def git_credentials(self) -> str:
        """Made from the private token where none are set, in upstream's form (a backslash and an n)."""
        traits = self.traits
        if traits.git_credentials or not traits.private_token:
            return traits.git_credentials
        return rf"username=binderhub\npassword={traits.private_token}"

    def parse(self, spec: str) -> Repository:
        """Split at the first slash: those of the project's path are encoded."""
        quoted, _, quoted_ref = spec.partition("/")
        path, ref = unquote(quoted).removesuffix(".git"), unquote(quoted_ref)
        parts = path.split("/")
        if not ref:
            raise SpecError(f'Spec is not of the form "group%2Fproject/ref", provided: "{spec}".')
        if len(parts) < 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise SpecError(f'"{path}" is not the path of a GitLab project.')
        slug = "-".join(part.replace("-", "_-") for part in parts)
        return Repository(spec, f"https://{self.traits.hostname}/{path}.git", ref, slug)

    async def resolve(self, repository: Repository) -> Resolved | None:
        """Ask the API for the commit."""
        path = repository.url.removeprefix(f"https://{self.traits.hostname}/").removesuffix(".git")
        project, ref = quote(path, safe=""), quote(repository.ref, safe="")
        answer = await self._ask(f"https://{self.traits.hostname}/api/v4/projects/{project}/repository/commits/{ref}")
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise GitError(f"GitLab answered {answer.status_code}", where=str(answer.request.url))
        commit = answer.json().get("id")
        if not isinstance(commit, str) or not is_commit(commit):
            raise GitError("GitLab's answer holds no commit", where=str(answer.request.url))
        return Resolved(commit, f"{project}/{commit}", f"{repository.url.removesuffix('.git')}/tree/{commit}")

    def tree_source(self, repository: Repository, resolved: Resolved) -> FetchTree | None:
        """The commit alone, by git."""
        return commit_by_git(repository.url, resolved.ref, credentials=self.git_credentials)

    async def _ask(self, url: str) -> httpx.Response:
        headers = {"User-Agent": "BinderHub"}
        # In headers: upstream's query would stand in logs.
        if self.traits.access_token:
            headers["Authorization"] = f"Bearer {self.traits.access_token}"
        if self.traits.private_token:
            headers["PRIVATE-TOKEN"] = self.traits.private_token
        try:
            return await self._client.get(url, headers=headers)
        except httpx.HTTPError as error:
            raise GitError(f"GitLab cannot be reached ({type(error).__name__})", where=url, why=str(error)) from error
