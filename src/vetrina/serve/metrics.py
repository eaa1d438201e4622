"""Prometheus metrics of a serving process. They know nothing of how an answer is computed."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from vetrina.core.exposures import Exposure
from vetrina.serve.answer_usage import AnswerUsage

_LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_EXPECTED_STATUSES = (400, 500, 503)  # of requests that are refused or fail
_REFUSED_EVENT_STATUSES = (400, 409)
_WRITE_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0)


class ServiceMetrics:
    """Counters, gauges and latency histograms of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # CPU time, memory, open files; on Linux alone
        self.usage = AnswerUsage()
        self.registry.register(self.usage)
        self.dropped_answers = self._counter(
            "vetrina_dropped_answers",
            "Answers given but not logged: the queue was full, or the store refused them",
        )
        self.candidate_faults = self._counter(
            "vetrina_candidate_faults",
            "Requests that a candidate failed to answer",
            "scenario",
            "fault",
        )
        self.degraded_answers = self._counter(
            "vetrina_degraded_answers",
            "Answers given without the store: the user's recent events are those that this worker read last",
            "scenario",
        )
        self.errors = self._counter(
            "vetrina_errors",
            "Requests refused or failed",
            "status",
        )
        self.events = self._counter(
            "vetrina_events",
            "New events written to the event log",
        )
        self.refused_events = self._counter(
            "vetrina_refused_events",
            "Events refused, by the status of each: 400 breaks a rule, 409 has the id of another event of its user",
            "status",
        )
        self.waiting = self._gauge(
            "vetrina_waiting",
            "What waits to be written: requests with events, the events, and the answers that were given",
            "queue",
        )
        self.queue_limit = self._gauge(
            "vetrina_queue_limit",
            "How many requests may be under way, and how much may wait in each queue; answers beyond it are not logged",
            "queue",
        )
        self.served_versions = self._gauge(
            "vetrina_served_versions",
            "1 for each version that answers in this process, by the arm of the users that it answers",
            "scenario",
            "version",
            "arm",
        )
        self.candidate_share = self._gauge(
            "vetrina_candidate_share",
            "Share of users who are served by a candidate or a watched version",
            "scenario",
        )
        self.version_stale = self._gauge(
            "vetrina_version_stale",
            "1 where this worker serves another version than the champion, or none: it cannot open it",
            "scenario",
        )
        self.store_away = self._gauge(
            "vetrina_store_away",
            "1 while this worker cannot read the store and serves from memory",
        )
        self.controller_silent_seconds = self._gauge(
            "vetrina_controller_silent_seconds",
            "Seconds since the shop's controller gave a sign of life, at most the age of this worker",
        )
        self.watts_per_core = self._gauge(
            "vetrina_watts_per_core",
            "[operate] watts: power of a busy core, for the estimate of energy",
        )
        self.price_per_cpu_hour = self._gauge(
            "vetrina_price_per_cpu_hour",
            "[operate] price_per_cpu_hour; 0 where it is not set",
        )
        self.requests_in_flight = self._gauge(
            "vetrina_requests_in_flight",
            "Requests that this worker has begun and not answered yet, without the one that reads this",
        )
        self.answer_seconds = Histogram(
            "vetrina_answer_seconds",
            "Time to answer",
            ["scenario"],
            registry=self.registry,
            buckets=_LATENCY_BUCKETS_SECONDS,
        )
        self.event_write_seconds = Histogram(
            "vetrina_event_write_seconds",
            "Time in which the events of a request were on disk",
            registry=self.registry,
            buckets=_WRITE_BUCKETS_SECONDS,
        )
        self._answer_seconds_of: dict[str, Histogram] = {}
        # A counter that begins with its first fault has no rate of it: these begin at 0.
        for status in _EXPECTED_STATUSES:
            self.errors.labels(str(status))
        for status in _REFUSED_EVENT_STATUSES:
            self.refused_events.labels(str(status))

    def count_answer(self, exposure: Exposure) -> None:
        """Count an answer, how long it took, and the fault of the version that did not give it."""
        if exposure.seconds is not None:
            self._answer_histogram(exposure.scenario).observe(exposure.seconds)
        self.usage.count(exposure.scenario, exposure.version, exposure.seconds or 0.0)
        if exposure.fault:
            self.candidate_faults.labels(exposure.scenario, exposure.fault).inc()

    def _answer_histogram(self, scenario: str) -> Histogram:
        histogram = self._answer_seconds_of.get(scenario)
        if histogram is None:
            histogram = self.answer_seconds.labels(scenario)
            self._answer_seconds_of[scenario] = histogram
        return histogram

    def count_error(self, status: int) -> None:
        """Count a request that is refused or failed, by the status of its answer."""
        self.errors.labels(str(status)).inc()

    def show_waiting(self, waiting: Mapping[str, int]) -> None:
        """Set how much waits in each queue."""
        for queue, count in waiting.items():
            self.waiting.labels(queue).set(count)

    def show_limits(self, limits: Mapping[str, int]) -> None:
        """Set how much may be under way, or wait in each queue."""
        for queue, limit in limits.items():
            self.queue_limit.labels(queue).set(limit)

    def show_scenario(self, scenario: str, faults: Iterable[str]) -> None:
        """Let the counters of a scenario begin at 0.

        Args:
            scenario: one that serves.
            faults: those that its candidate may have; none without a candidate.
        """
        self.degraded_answers.labels(scenario)
        for fault in faults:
            self.candidate_faults.labels(scenario, fault)

    def show_versions(self, served: Iterable[tuple[str, str, str]]) -> None:
        """Set which versions answer, as (scenario, version, arm); all others are gone."""
        self.served_versions.clear()
        for labels in served:
            self.served_versions.labels(*labels).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
