from __future__ import annotations

from tests.oci.docker_registry import registry, token_realm

__all__ = ["registry", "token_realm"]
