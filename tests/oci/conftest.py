from __future__ import annotations

from tests.oci.docker_registry import own_registry, registry, replaced_registry, token_realm

__all__ = ["own_registry", "registry", "replaced_registry", "token_realm"]
