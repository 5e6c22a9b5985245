"""What `/metrics` tells, in the text format of Prometheus: totals read from where they are counted anyway."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from maskwright.compiler import GrammarCompiler
from maskwright.serve_scheduler import Scheduler

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one server.

    Attributes:
        requests: by endpoint and HTTP status.
        request_seconds: from the request's arrival to the end of its answer.
        compile_seconds: of the grammars of requests, those found in the cache included.
    """

    def __init__(self, scheduler: Scheduler, compiler: GrammarCompiler) -> None:
        self._scheduler, self._compiler = scheduler, compiler
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "maskwright_requests", "Requests answered", ["endpoint", "status"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "maskwright_request_seconds", "Time to the end of the answer", buckets=_SECONDS, registry=self._registry
        )
        self.compile_seconds = Histogram(
            "maskwright_compile_seconds", "Time to the request's grammar", buckets=_SECONDS, registry=self._registry
        )
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What the scheduler and the compiler count; called by prometheus-client."""
        scheduler, cache = self._scheduler, self._compiler.cache_info()
        for name, text, value in (
            ("steps", "Forwards of the model", scheduler.steps),
            ("tokens", "Tokens written", scheduler.tokens),
            ("forward_seconds", "Time in forwards of the model", scheduler.forward_seconds),
            ("mask_seconds", "Time spent on masks", scheduler.mask_seconds),
            ("grammar_cache_hits", "Grammars found compiled", cache.hits),
            ("grammar_cache_misses", "Grammars compiled", cache.misses),
            ("grammar_cache_evictions", "Grammars dropped to stay within the bound", cache.evictions),
        ):
            yield CounterMetricFamily(f"maskwright_{name}", text, value)
        for name, text, value in (
            ("running", "Answers in the making", scheduler.running),
            ("waiting", "Answers that have not begun", scheduler.waiting),
            ("grammar_cache_bytes", "Memory of compiled grammars", cache.nbytes.total),
        ):
            yield GaugeMetricFamily(f"maskwright_{name}", text, value)

    def text(self) -> bytes:
        """All of them, in the text format 0.0.4."""
        found: bytes = generate_latest(self._registry)
        return found
