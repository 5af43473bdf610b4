"""What Prometheus is told, by the names and buckets of BinderHub's dashboards."""

from __future__ import annotations

from collections import OrderedDict

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

MOST_SERIES = 2000
"""Repositories are what visitors name: without a bound each of them would be held, and told to Prometheus, for ever."""


class RepositoryCounter:
    """Counts by status, provider and repository; the series that was not counted for longest goes above MOST_SERIES.

    One that comes again begins at 1, as after a restart: Prometheus' rate() knows of that.
    """

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        self._counter = Counter(name, documentation, ["status", "provider", "repo"], registry=registry)
        self._series: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def count(self, status: str, provider: str, repository: str) -> None:
        """One more."""
        series = (status, provider, repository)
        self._series[series] = None
        self._series.move_to_end(series)
        self._counter.labels(*series).inc()
        while len(self._series) > MOST_SERIES:
            self._counter.remove(*self._series.popitem(last=False)[0])


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
        self.build_count = RepositoryCounter("binderhub_build_count", "Counter of builds by repo", self.registry)
        self.launch_count = RepositoryCounter("binderhub_launch_count", "Counter of launches by repo", self.registry)
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
