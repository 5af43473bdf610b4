from __future__ import annotations

from tests.build.conftest import registry

__all__ = ["registry"]
