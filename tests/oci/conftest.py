from __future__ import annotations

from tests.oci.docker_registry import registry, replaced_registry, token_realm

__all__ = ["registry", "replaced_registry", "token_realm"]
