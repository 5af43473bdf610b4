"""Where repositories come from, one module each, by the class names that operators' values use."""

from __future__ import annotations

from typing import Any

import httpx

from binderops.binder.providers.base import Provider
from binderops.binder.providers.git import Git
from binderops.binder.providers.github import GitHub
from binderops.binder.providers.gitlab import GitLab
from binderops.binder.providers.local import Local
from binderops.binder.settings import Settings
from binderops.binder.traits import GitHubRepoProvider, GitLabRepoProvider, GitRepoProvider, LocalRepoProvider
from binderops.oci.registry import Registry

AnyProvider = Provider[Any]


def make_providers(settings: Settings, client: httpx.AsyncClient, registry: Registry) -> dict[str, AnyProvider]:
    """The providers by prefix, in the order of `repo_providers`; those that do not exist were refused by `settings`.

    A class is named as in upstream's values, with or without its module.
    """
    wanted = settings.binder.repo_providers
    made = {
        prefix: make_provider(name.rpartition(".")[2], settings, client, registry) for prefix, name in wanted.items()
    }
    return {prefix: provider for prefix, provider in made.items() if provider}


def make_provider(name: str, settings: Settings, client: httpx.AsyncClient, registry: Registry) -> AnyProvider | None:
    """One provider, or None if there is none of this class."""
    match settings.providers.get(name):
        case GitHubRepoProvider() as traits:
            return GitHub(traits, client)
        case GitLabRepoProvider() as traits:
            return GitLab(traits, client)
        case GitRepoProvider() as traits:
            return Git(traits, client, settings.internal_hosts)
        case LocalRepoProvider() as traits:
            return Local(traits, client, registry)
        case _:
            return None
