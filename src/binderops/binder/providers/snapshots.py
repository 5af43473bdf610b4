"""The files of one commit, fetched by git from a host that the operator named."""

from __future__ import annotations

from pathlib import Path

from binderops.binder.builds.trees import FetchTree, GitTree, Tree
from binderops.git.remote import RemoteUrl
from binderops.git.snapshots import fetch


def commit_by_git(url: str, commit: str, *, credentials: str) -> FetchTree:
    """How to fetch it, alone; what it is called with is a folder to make."""

    async def fetch_tree(folder: Path) -> Tree:
        return GitTree(await fetch(RemoteUrl.parse(url), commit, folder, credentials=credentials))

    return fetch_tree
