"""Answers of this process and the CPU time they took, by the scenario and version that gave them.

A process cannot measure what each of its requests takes: threads and requests share it. Its CPU time as a whole is exact, and
is divided among the answers: a version has the computing time of its own answers, and of all the rest (HTTP, events, the log,
following the store) a share by its number of answers.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from vetrina.core.serving_usage import ServingUsage

_LABELS = ("scenario", "version")


@dataclass(slots=True)
class _Answers:
    """Answers of a version since the CPU time was last divided, and the seconds in which they were computed."""

    n: int = 0
    seconds: float = 0.0


class AnswerUsage(Collector):
    """Counts answers, and divides the CPU time of the process among them.

    Args:
        read_cpu_seconds: CPU seconds of the process so far, of all its threads.
    """

    def __init__(self, read_cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._read_cpu_seconds = read_cpu_seconds
        self._divided_cpu_seconds = read_cpu_seconds()
        self._lock = threading.Lock()
        self._undivided: dict[tuple[str, str], _Answers] = {}
        self._total: dict[tuple[str, str], ServingUsage] = {}

    def begin(self) -> None:
        """Count CPU time from now on: what the start of the process took is no cost of an answer."""
        self._divided_cpu_seconds = self._read_cpu_seconds()

    def count(self, scenario: str, version: str, seconds: float) -> None:
        """Count an answer.

        Args:
            scenario: of the answer.
            version: that gave it.
            seconds: in which it was computed.
        """
        key = (scenario, version)
        with self._lock:
            answers = self._undivided.get(key)
            if answers is None:
                answers = _Answers()
                self._undivided[key] = answers
            answers.n += 1
            answers.seconds += seconds

    def total(self) -> Mapping[tuple[str, str], ServingUsage]:
        """Usage since the start, by scenario and version. CPU time without any answer waits for the next one."""
        with self._lock:
            answered = self._undivided
            if answered:
                self._undivided = {}
                cpu_seconds = self._read_cpu_seconds() - self._divided_cpu_seconds
                self._divided_cpu_seconds += cpu_seconds
                for key, share in _divide(cpu_seconds, answered).items():
                    self._total[key] = self._total.get(key, ServingUsage()) + share
            return dict(self._total)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """The metrics, without values."""
        return _families({})

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The metrics, for a scrape."""
        return _families(self.total())


def _divide(cpu_seconds: float, answered: Mapping[tuple[str, str], _Answers]) -> dict[tuple[str, str], ServingUsage]:
    """CPU seconds by version: its own computing time, and of the rest a share by its number of answers.

    On a busy machine answers take longer than the CPU time in them. Then there is no rest, and computing time is scaled down.
    """
    n_answers = sum(answers.n for answers in answered.values())
    computing_seconds = sum(answers.seconds for answers in answered.values())
    scale = 1.0
    if computing_seconds > cpu_seconds:
        scale = cpu_seconds / computing_seconds
    rest_per_answer = (cpu_seconds - scale * computing_seconds) / n_answers
    usage: dict[tuple[str, str], ServingUsage] = {}
    for key, answers in answered.items():
        usage[key] = ServingUsage(answers.n, scale * answers.seconds + rest_per_answer * answers.n)
    return usage


def _families(usage_by_version: Mapping[tuple[str, str], ServingUsage]) -> list[CounterMetricFamily]:
    answers = CounterMetricFamily("vetrina_answers", "Answers given", labels=_LABELS)
    cpu_seconds = CounterMetricFamily(
        "vetrina_cpu_seconds",
        "CPU seconds of this process since it was ready, divided among the versions that answered",
        labels=_LABELS,
    )
    for labels, usage in usage_by_version.items():
        answers.add_metric(labels, usage.answers)
        cpu_seconds.add_metric(labels, usage.cpu_seconds)
    return [answers, cpu_seconds]
