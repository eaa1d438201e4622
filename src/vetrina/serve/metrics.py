"""Prometheus metrics of a serving process. They know nothing of how an answer is computed."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from vetrina.core.exposures import Exposure

_LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class ServiceMetrics:
    """Counters, gauges and the latency histogram of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # CPU time and memory under the names that every dashboard knows
        self.dropped_answers = self._counter(
            "vetrina_dropped_answers",
            "Answers given but not logged: the queue was full, or the store refused them",
        )
        self.answers = self._counter(
            "vetrina_answers",
            "Answers given",
            "scenario",
            "version",
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

    def count_answer(self, exposure: Exposure) -> None:
        """Count an answer, how long it took, and the fault of the version that did not give it."""
        if exposure.seconds is not None:
            self.answer_seconds.labels(exposure.scenario).observe(exposure.seconds)
        self.answers.labels(exposure.scenario, exposure.version).inc()
        if exposure.fault:
            self.candidate_faults.labels(exposure.scenario, exposure.fault).inc()

    def count_error(self, status: int) -> None:
        """Count a request that is refused or failed, by the status of its answer."""
        self.errors.labels(str(status)).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
