"""What Prometheus is told of the registry's storage."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """One registry of metrics for one storage."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.held = Gauge("binderops_registry_bytes", "Bytes on disk that the registry holds", registry=self.registry)
        self.high = Gauge(
            "binderops_registry_high_bytes", "Bytes above which images are removed", registry=self.registry
        )
        self.low = Gauge("binderops_registry_low_bytes", "Bytes until which images are removed", registry=self.registry)
        self.images = Gauge("binderops_registry_images", "Manifests in the registry", registry=self.registry)
        self.removed = Counter(
            "binderops_registry_removed_images", "Images removed to stay under the budget", registry=self.registry
        )
        self.freed = Counter("binderops_registry_freed_bytes", "Bytes on disk that were freed", registry=self.registry)
        self.failures = Counter(
            "binderops_registry_cleaning_failures", "Looks at the storage that failed", registry=self.registry
        )
        self.looked = Gauge(
            "binderops_registry_looked_timestamp_seconds", "When the storage was read last", registry=self.registry
        )
