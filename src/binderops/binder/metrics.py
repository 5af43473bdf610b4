"""What Prometheus is told, by the names and buckets of BinderHub's dashboards."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)


class Metrics:
    """One registry of metrics for one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.build_time = Histogram(
            "binderhub_build_time_seconds",
            "Histogram of build times",
            ["status"],
            buckets=[60, 120, 300, 600, 1800, 3600, 7200, float("inf")],
            registry=self.registry,
        )
        self.launch_time = Histogram(
            "binderhub_launch_time_seconds",
            "Histogram of launch times",
            ["status", "retries"],
            buckets=[2, 5, 10, 20, 30, 60, 120, 300, 600, float("inf")],
            registry=self.registry,
        )
        self.build_count = Counter(
            "binderhub_build_count", "Counter of builds by repo", ["status", "provider", "repo"], registry=self.registry
        )
        self.launch_count = Counter(
            "binderhub_launch_count",
            "Counter of launches by repo",
            ["status", "provider", "repo"],
            registry=self.registry,
        )
        self.inprogress_builds = Gauge(
            "binderhub_inprogress_builds", "Builds currently in progress", registry=self.registry
        )
        self.inprogress_launches = Gauge(
            "binderhub_inprogress_launches", "Launches currently in progress", registry=self.registry
        )
        self.base_present = Gauge(
            "binderops_base_present",
            "Whether the registry holds the notebook base, so that builds mount its layers instead of sending them",
            registry=self.registry,
        )
        self.base_seedings = Counter(
            "binderops_base_seedings", "Attempts to send the notebook base", ["status"], registry=self.registry
        )
        self.github_remaining = Gauge(
            "binderhub_github_rate_limit_remaining", "GitHub rate limit remaining", registry=self.registry
        )

    def text(self) -> bytes:
        """The whole page."""
        return generate_latest(self.registry)
