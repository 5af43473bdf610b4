from __future__ import annotations

from tests.git.git_server import git_server

__all__ = ["git_server"]
