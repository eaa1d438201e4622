"""The search for the highest rate that keeps a latency target, what is measured at a rate, and the sizing that follows."""

from dataclasses import asdict
from itertools import islice

import httpx
import pytest

from vetrina.simulate.load_test import LoadStep, LoadTarget, calls, highest_rate, size_deployment, summarise
from vetrina.simulate.open_loop import TIMED_OUT, Answers
from vetrina.simulate.process_usage import LocalUsage, ScrapedUsage
from vetrina.simulate.request_sample import RequestPool


@pytest.mark.parametrize("capacity", [7.0, 19.0, 20.0, 137.0, 2_345.0])
def test_the_highest_rate_is_found_within_a_tenth(capacity):
    tried = []

    def keeps_target(rate: float) -> bool:
        tried.append(rate)
        return rate <= capacity

    found = highest_rate(keeps_target)
    assert capacity / 1.1 <= found <= capacity
    assert len(tried) <= 14


def test_a_service_that_carries_nothing_has_the_rate_zero():
    assert highest_rate(lambda rate: False) == 0.0


def test_the_search_ends_where_the_generator_does():
    assert 10_000.0 <= highest_rate(lambda rate: True) < 30_000.0


def answers_to(*seconds_and_status: tuple[float, int]) -> Answers:
    answers = Answers()
    for number, (seconds, status) in enumerate(seconds_and_status):
        answers.names.append("search" if number % 2 else "recommend")
        answers.statuses.append(status)
        answers.scheduled.append(0.1 * number)
        answers.seconds.append(seconds)
        answers.marked.append(False)
    return answers


def test_requests_in_flight_are_the_rate_times_the_mean_latency():
    step = summarise(answers_to((0.010, 200), (0.030, 200)), 50.0, 1.5, target_ms=100.0, deadline_seconds=1.0)
    assert step.in_flight == pytest.approx(1.0)
    assert step.p50_ms == pytest.approx(20.0)
    assert dict(step.p99_ms_by_kind) == pytest.approx({"recommend": 10.0, "search": 30.0})
    assert step.keeps_target


def test_a_quick_refusal_is_no_quick_answer():
    answers = answers_to(*[(0.001, 200)] * 97, (0.001, 503), (0.001, 503), (1.0, TIMED_OUT))
    step = summarise(answers, 50.0, None, target_ms=500.0, deadline_seconds=1.0)
    assert step.failed == 3
    assert asdict(step)["failures"] == {"status 503": 2, "timed out": 1}
    assert step.p99_ms >= 1_000.0
    assert not step.keeps_target


def test_few_failures_are_allowed_and_one_in_a_hundred_is_not():
    rare = summarise(answers_to(*[(0.001, 200)] * 1_999, (0.001, 500)), 50.0, None, target_ms=9.0, deadline_seconds=1.0)
    often = summarise(answers_to(*[(0.001, 200)] * 199, (0.001, 500)), 50.0, None, target_ms=9.0, deadline_seconds=1.0)
    assert rare.keeps_target
    assert often.p99_ms <= 9.0
    assert not often.keeps_target


def measured(rate: float, in_flight: float, cpu_ms: float | None) -> LoadStep:
    return LoadStep(rate, 1_000, 0, {}, 1.0, 2.0, 3.0, {}, in_flight, cpu_ms, 0.0, True)


def test_a_deployment_is_sized_by_what_was_measured():
    sizing = size_deployment(
        200.0, measured(100.0, 0.4, 4.0), measured(160.0, 1.5, 4.1), memory_mb=200.0, peak_rate=1_000.0
    )
    assert sizing.in_flight == 0.4
    assert sizing.replicas == 7  # 1,000 / (0.8 x 200) = 6.25
    assert sizing.cpu_request == 0.7  # 160 x 4.1 ms = 0.656 cores
    assert sizing.cpu_limit == 2.0
    assert sizing.memory_request_mb == 256  # 1.25 x 200 MB = 238 MiB
    assert sizing.memory_limit_mb == 512


def test_a_deployment_without_known_usage_has_replicas_alone():
    sizing = size_deployment(200.0, measured(100.0, 0.4, None), measured(160.0, 1.5, None), None, peak_rate=10.0)
    assert sizing.replicas == 1
    assert (sizing.cpu_request, sizing.cpu_limit, sizing.memory_request_mb, sizing.memory_limit_mb) == (None,) * 4


def test_requests_are_drawn_by_their_shares_and_are_whole():
    pools = [
        RequestPool("search", "/v1/search", (b'{"query":"a"}', b'{"query":"b"}'), 0.75, ""),
        RequestPool("recommend", "/v1/recommend", (b'{"user_id":"u1"}',), 0.25, ""),
    ]
    target = LoadTarget(("127.0.0.1", 1), "127.0.0.1:1", "/shop", "secret", LocalUsage(1))
    drawn = list(islice(calls(pools, target), 2_000))
    assert 1_400 < sum(name == "search" for name, _ in drawn) < 1_600  # five standard deviations
    head, _, body = next(content for name, content in drawn if name == "recommend").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /shop/v1/recommend HTTP/1.1\r\nhost: 127.0.0.1:1\r\n")
    assert b"\r\nauthorization: Bearer secret\r\n" in head
    assert body == b'{"user_id":"u1"}'
    assert head.endswith(b"content-length: %d" % len(body))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2e+06\n", (1.5, 2.0)),
        ("vetrina_answers_total 3\n", (None, None)),  # as on a system that has no such figures
    ],
)
def test_usage_is_read_from_the_metrics(text, expected):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=text))
    usage = ScrapedUsage(httpx.Client(base_url="http://shop", transport=transport))
    assert (usage.cpu_seconds(), usage.memory_mb()) == expected


def test_usage_is_unknown_while_the_service_does_not_answer():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    usage = ScrapedUsage(httpx.Client(base_url="http://shop", transport=httpx.MockTransport(refuse)))
    assert (usage.cpu_seconds(), usage.memory_mb()) == (None, None)
