"""Where repositories come from, one module each, by the class names that operators' values use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from binderops.binder.providers.base import Provider
from binderops.binder.providers.git import Git
from binderops.binder.providers.github import GitHub
from binderops.binder.providers.local import Local
from binderops.binder.traits import GitHubRepoProvider, GitRepoProvider, LocalRepoProvider, RepoProvider
from binderops.oci.registry import Registry

AnyProvider = Provider[Any]


def make_providers(
    wanted: Mapping[str, str], traits: Mapping[str, RepoProvider], client: httpx.AsyncClient, registry: Registry
) -> tuple[dict[str, AnyProvider], list[str]]:
    """The providers by prefix, in the order of `repo_providers`, and what is said of those that do not exist here.

    A class is named as in upstream's values, with or without its module.
    """
    made: dict[str, AnyProvider] = {}
    findings = []
    for prefix, name in wanted.items():
        provider = make_provider(name.rpartition(".")[2], traits, client, registry)
        if provider:
            made[prefix] = provider
        else:
            findings.append(f"config.BinderHub.repo_providers.{prefix}: {name} is not supported yet, and left out")
    return made, findings


def make_provider(
    name: str, traits: Mapping[str, RepoProvider], client: httpx.AsyncClient, registry: Registry
) -> AnyProvider | None:
    """One provider, or None if there is none of this class."""
    settings = traits.get(name)
    match settings:
        case GitHubRepoProvider():
            return GitHub(settings, client)
        case GitRepoProvider():
            return Git(settings, client)
        case LocalRepoProvider():
            return Local(settings, client, registry)
        case _:
            return None
