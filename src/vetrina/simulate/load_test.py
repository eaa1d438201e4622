"""Load test of one serving process: the highest rate that keeps its latency target, and what follows for sizing.

Requests arrive in a Poisson process, whether or not earlier ones are answered, and latency counts from the scheduled time (no
coordinated omission). The rate is doubled until the 99th percentile passes the target, then bisected. At half of the rate found
and at four fifths of it latency, CPU time and requests in flight are measured once more.
"""

import math
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import uvloop

from vetrina.simulate.open_loop import CUT, NOT_SENT, TIMED_OUT, Answers, Call, Load
from vetrina.simulate.process_usage import ProcessUsage
from vetrina.simulate.request_sample import RequestPool

AUTOSCALED_SHARE = (
    0.5  # of the sustained rate that a replica gets: the rest carries a shop until another replica has started
)
FIXED_SHARE = 0.8  # of the sustained rate at the peak, where the number of replicas does not change
_FIRST_RATE = 20.0  # requests a second
_LOWEST_RATE = 4.0
_HIGHEST_RATE = 10_000.0  # more than the generator sends
_RESOLUTION = 1.1  # ratio of the lowest rate that misses the target to the highest one that keeps it
_WARM_UP_SECONDS = 3.0
_MAX_FAILED_SHARE = 0.001  # of the requests of a step that keeps the target
_MIN_DEADLINE_SECONDS = 1.0
_DEADLINE_TARGETS = 5.0  # deadline of a request, in latency targets
_MAX_CONNECTIONS = 2_000
_MS_PER_SECOND = 1e3
_CPU_STEP = 0.05  # cores to which a request for CPU is rounded up
_CPU_LIMIT_FACTOR = 2.0  # a second version is opened, and answers in the shadow, while the first one serves
_MEMORY_STEP_MB = 32
_MEMORY_REQUEST_FACTOR = 1.25  # for events and products that arrive until the next restart
_MEMORY_LIMIT_FACTOR = 2.0  # of the request: during a release two versions are open
_FAILURES = {TIMED_OUT: "timed out", CUT: "cut off", NOT_SENT: "not sent"}
_SEED = 42


@dataclass(frozen=True)
class LoadTarget:
    """The service that is loaded.

    Attributes:
        address: Host and port.
        host: The ``Host`` header.
        prefix: Of every path; empty for none.
        token: The shop's token.
        usage: CPU time and memory of its process.
        tls: How a connection is encrypted; None for plain HTTP.
    """

    address: tuple[str, int]
    host: str
    prefix: str
    token: str
    usage: ProcessUsage
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class LoadStep:
    """What was measured at one rate.

    Attributes:
        rate: Requests a second.
        requests: Number of requests.
        failed: Number of them that were not answered with success.
        failures: Number of failed ones by what became of them.
        p50_ms: Median latency. A request without an answer has that of its deadline.
        p95_ms: Its 95th percentile.
        p99_ms: Its 99th percentile.
        p99_ms_by_kind: The same by scenario.
        in_flight: Mean number of requests in flight: rate times mean latency (Little's law).
        cpu_ms: CPU time per request; None where it is not known.
        late_ms: By how much the generator itself was late at most; latency includes it.
        keeps_target: Whether the 99th percentile is within the target and hardly a request failed.
    """

    rate: float
    requests: int
    failed: int
    failures: Mapping[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_ms_by_kind: Mapping[str, float]
    in_flight: float
    cpu_ms: float | None
    late_ms: float
    keeps_target: bool


@dataclass(frozen=True)
class Sizing:
    """What follows for a deployment.

    Attributes:
        in_flight: Requests in flight of a replica that an autoscaler aims at.
        peak_rate: Requests a second of all replicas.
        replicas: Replicas for that rate, where their number does not change.
        cpu_request: Cores.
        cpu_limit: Cores.
        memory_request_mb: Megabytes (2**20 bytes); None where memory is not known, as is the limit.
        memory_limit_mb: Megabytes.
    """

    in_flight: float
    peak_rate: float
    replicas: int
    cpu_request: float | None
    cpu_limit: float | None
    memory_request_mb: int | None
    memory_limit_mb: int | None


@dataclass(frozen=True)
class LoadResult:
    """The result of a load test.

    Attributes:
        target_ms: Latency target of the 99th percentile.
        sustained_rate: Highest rate that keeps it, in requests a second.
        autoscaled: At half of that rate.
        fixed: At four fifths of it.
        memory_mb: Memory at most, of the kind that ``memory_kind`` names.
        sizing: What follows.
    """

    target_ms: float
    sustained_rate: float
    autoscaled: LoadStep
    fixed: LoadStep
    memory_mb: float | None
    memory_kind: str
    sizing: Sizing


class LoadTest:
    """A load test of one serving process.

    Args:
        target: the service.
        pools: the requests.
        step_seconds: length of each step.
        target_ms: latency target of the 99th percentile.
        report: called with each step of the search.
    """

    def __init__(
        self,
        target: LoadTarget,
        pools: Sequence[RequestPool],
        *,
        step_seconds: float,
        target_ms: float,
        report: Callable[[LoadStep], None],
    ) -> None:
        self._target = target
        self._step_seconds = step_seconds
        self._target_ms = target_ms
        self._report = report
        self._deadline_seconds = max(_MIN_DEADLINE_SECONDS, _DEADLINE_TARGETS * target_ms / _MS_PER_SECOND)
        self._memory_mb: float | None = None
        self._calls = calls(pools, target)  # of all steps, so that none repeats the requests of another

    def run(self, peak_rate: float) -> LoadResult | None:
        """The result; None where the service misses its target at a few requests a second already.

        Args:
            peak_rate: requests a second that the deployment is sized for.
        """
        self.measure(_FIRST_RATE, _WARM_UP_SECONDS)
        sustained_rate = highest_rate(self._keeps_target)
        if not sustained_rate:
            return None
        autoscaled = self.measure(AUTOSCALED_SHARE * sustained_rate, self._step_seconds)
        fixed = self.measure(FIXED_SHARE * sustained_rate, self._step_seconds)
        return LoadResult(
            target_ms=self._target_ms,
            sustained_rate=sustained_rate,
            autoscaled=autoscaled,
            fixed=fixed,
            memory_mb=self._memory_mb,
            memory_kind=self._target.usage.memory_kind,
            sizing=size_deployment(sustained_rate, autoscaled, fixed, self._memory_mb, peak_rate),
        )

    def measure(self, rate: float, seconds: float) -> LoadStep:
        """What a rate gives.

        Args:
            rate: requests a second.
            seconds: for how long.
        """
        before = self._target.usage.cpu_seconds()
        answers = uvloop.run(self._send(rate, seconds))
        while not answers.statuses:  # a low rate for a short time may send nothing
            answers = uvloop.run(self._send(rate, seconds))
        after = self._target.usage.cpu_seconds()
        self._note_memory()
        cpu_ms = None
        if before is not None and after is not None:
            cpu_ms = _MS_PER_SECOND * (after - before) / len(answers.statuses)
        return summarise(answers, rate, cpu_ms, self._target_ms, self._deadline_seconds)

    def _keeps_target(self, rate: float) -> bool:
        """Whether a rate keeps the target. One miss may be the machine's: it is measured twice before it counts."""
        step = self.measure(rate, self._step_seconds)
        if not step.keeps_target:
            step = self.measure(rate, self._step_seconds)
        self._report(step)
        return step.keeps_target

    async def _send(self, rate: float, seconds: float) -> Answers:
        load = Load(
            self._target.address,
            deadline_seconds=self._deadline_seconds,
            most_connections=_MAX_CONNECTIONS,
            tls=self._target.tls,
        )
        try:
            return await load.open_loop(self._calls, [(rate, seconds)])
        finally:
            load.close()

    def _note_memory(self) -> None:
        memory_mb = self._target.usage.memory_mb()
        if memory_mb is not None:
            self._memory_mb = max(memory_mb, self._memory_mb or 0.0)


def highest_rate(keeps_target: Callable[[float], bool]) -> float:
    """The highest rate that keeps the target, within a tenth, by doubling and then by bisection; 0 where none does.

    Args:
        keeps_target: measures a rate, in requests a second.
    """
    kept = 0.0
    missed = _FIRST_RATE
    while keeps_target(missed):
        kept = missed
        if missed >= _HIGHEST_RATE:
            return kept
        missed *= 2
    while not kept:
        lower = missed / 2
        if lower < _LOWEST_RATE:
            return 0.0
        if keeps_target(lower):
            kept = lower
        else:
            missed = lower
    while missed / kept > _RESOLUTION:
        middle = math.sqrt(kept * missed)
        if keeps_target(middle):
            kept = middle
        else:
            missed = middle
    return kept


def summarise(
    answers: Answers, rate: float, cpu_ms: float | None, target_ms: float, deadline_seconds: float
) -> LoadStep:
    """Latencies and failures of the answers to one rate.

    Args:
        answers: what became of each request.
        rate: requests a second.
        cpu_ms: CPU time per request, if known.
        target_ms: latency target of the 99th percentile.
        deadline_seconds: latency of a request without an answer.
    """
    statuses = np.array(answers.statuses)
    is_ok = (statuses >= 200) & (statuses < 300)
    seconds = np.array(answers.seconds)
    seconds[~is_ok] = np.maximum(seconds[~is_ok], deadline_seconds)
    milliseconds = _MS_PER_SECOND * seconds
    p50_ms, p95_ms, p99_ms = (float(value) for value in np.quantile(milliseconds, (0.5, 0.95, 0.99)))
    names = np.array(answers.names)
    p99_ms_by_kind: dict[str, float] = {}
    for name in sorted(set(answers.names)):
        p99_ms_by_kind[name] = float(np.quantile(milliseconds[names == name], 0.99))
    failed = int((~is_ok).sum())
    return LoadStep(
        rate=rate,
        requests=len(answers.statuses),
        failed=failed,
        failures=dict(Counter(_failure(int(status)) for status in statuses[~is_ok])),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        p99_ms_by_kind=p99_ms_by_kind,
        in_flight=rate * float(np.mean(answers.seconds)),
        cpu_ms=cpu_ms,
        late_ms=_MS_PER_SECOND * answers.most_behind,
        keeps_target=p99_ms <= target_ms and failed <= _MAX_FAILED_SHARE * len(answers.statuses),
    )


def _failure(status: int) -> str:
    return _FAILURES.get(status, f"status {status}")


def size_deployment(
    sustained_rate: float, autoscaled: LoadStep, fixed: LoadStep, memory_mb: float | None, peak_rate: float
) -> Sizing:
    """Replicas, and requests and limits of each.

    Args:
        sustained_rate: highest rate of a worker that keeps the target.
        autoscaled: measured at the share of it that an autoscaled replica gets.
        fixed: measured at the share of it that a replica of a fixed number gets.
        memory_mb: memory of the worker at most; None where it is not known.
        peak_rate: requests a second of all replicas.
    """
    cpu_request = None
    cpu_limit = None
    if fixed.cpu_ms is not None:
        cores = fixed.rate * fixed.cpu_ms / _MS_PER_SECOND
        cpu_request = round(_CPU_STEP * math.ceil(cores / _CPU_STEP), 2)
        cpu_limit = float(math.ceil(_CPU_LIMIT_FACTOR * cpu_request))
    memory_request_mb = None
    memory_limit_mb = None
    if memory_mb is not None:
        mebibytes = _MEMORY_REQUEST_FACTOR * memory_mb * 1e6 / 2**20
        memory_request_mb = _MEMORY_STEP_MB * math.ceil(mebibytes / _MEMORY_STEP_MB)
        memory_limit_mb = int(_MEMORY_LIMIT_FACTOR * memory_request_mb)
    return Sizing(
        in_flight=autoscaled.in_flight,
        peak_rate=peak_rate,
        replicas=max(1, math.ceil(peak_rate / (FIXED_SHARE * sustained_rate))),
        cpu_request=cpu_request,
        cpu_limit=cpu_limit,
        memory_request_mb=memory_request_mb,
        memory_limit_mb=memory_limit_mb,
    )


def calls(pools: Sequence[RequestPool], target: LoadTarget) -> Iterator[Call]:
    """Requests without an end, sampled from the pools by their shares.

    Args:
        pools: the requests.
        target: where they are sent.
    """
    rng = random.Random(_SEED)  # noqa: S311
    shares = [pool.share for pool in pools]
    while True:
        pool = rng.choices(pools, shares)[0]
        yield pool.name, _encode(target, pool.path, rng.choice(pool.bodies))


def _encode(target: LoadTarget, path: str, body: bytes) -> bytes:
    lines = (
        f"POST {target.prefix}{path} HTTP/1.1",
        f"host: {target.host}",
        f"authorization: Bearer {target.token}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
