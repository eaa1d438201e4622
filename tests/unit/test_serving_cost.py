"""What answers cost: CPU time of the process divided among versions, kept in the store, priced by the settings."""

import pytest
from prometheus_client import CollectorRegistry

from vetrina.core import clock
from vetrina.core.serving_usage import ServingUsage
from vetrina.core.settings import OperateSettings
from vetrina.reports.cost import cost_of_usage
from vetrina.serve.answer_usage import AnswerUsage
from vetrina.serve.usage_log import UsageLog
from vetrina.store.database import open_store
from vetrina.store.serving_usage import add_usage, usage_of
from vetrina.store.shop_folder import ShopFolder


class CpuClock:
    """CPU time that tests move."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def cpu() -> CpuClock:
    return CpuClock()


@pytest.fixture
def engine(tmp_path):
    folder = ShopFolder(tmp_path)
    opened = open_store(folder.store_url, folder.keys)
    yield opened
    opened.dispose()


def test_a_version_has_its_computing_time_and_its_share_of_the_rest(cpu):
    usage = AnswerUsage(cpu)
    for _ in range(3):
        usage.count("search", "s1", 0.1)
    usage.count("recommend", "r1", 0.5)
    cpu.seconds += 2.0  # of which 0.8 s computed answers, and 0.3 s of the rest belong to each
    total = usage.total()
    assert total["search", "s1"] == ServingUsage(3, pytest.approx(0.3 + 3 * 0.3))
    assert total["recommend", "r1"] == ServingUsage(1, pytest.approx(0.5 + 0.3))


def test_all_cpu_time_is_divided_also_where_answers_waited_for_a_core(cpu):
    usage = AnswerUsage(cpu)
    usage.count("search", "s1", 3.0)
    usage.count("search", "s2", 1.0)
    cpu.seconds += 2.0
    total = usage.total()
    assert total["search", "s1"].cpu_seconds == pytest.approx(1.5)
    assert total["search", "s2"].cpu_seconds == pytest.approx(0.5)


def test_idle_time_is_a_cost_of_the_next_answers_and_the_start_is_none(cpu):
    usage = AnswerUsage(cpu)
    cpu.seconds += 60.0  # to load bundles
    usage.begin()
    cpu.seconds += 1.0
    assert usage.total() == {}
    usage.count("search", "s1", 0.1)
    cpu.seconds += 1.0
    assert usage.total()["search", "s1"].cpu_seconds == pytest.approx(2.0)


def test_a_scrape_shows_both_counters(cpu):
    registry = CollectorRegistry()
    usage = AnswerUsage(cpu)
    registry.register(usage)
    usage.count("search", "s1", 0.1)
    cpu.seconds += 0.5
    labels = {"scenario": "search", "version": "s1"}
    assert registry.get_sample_value("vetrina_answers_total", labels) == 1
    assert registry.get_sample_value("vetrina_cpu_seconds_total", labels) == pytest.approx(0.5)


def test_usage_of_workers_and_days_adds_up(engine, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 20_000.5 * clock.DAY)
    add_usage(engine, {"s1": ServingUsage(10, 1.0), "r1": ServingUsage(1, 1.0)})
    add_usage(engine, {"s1": ServingUsage(5, 0.5)})
    monkeypatch.setattr(clock, "now", lambda: 20_001.5 * clock.DAY)
    add_usage(engine, {"s1": ServingUsage(1, 0.25)})
    assert usage_of(engine, "s1") == ServingUsage(16, 1.75)
    assert usage_of(engine, "unknown") == ServingUsage()


def test_a_worker_writes_each_answer_once(engine, cpu):
    usage = AnswerUsage(cpu)
    log = UsageLog(engine, usage)
    usage.count("search", "s1", 0.1)
    cpu.seconds += 1.0
    log.close()
    log.close()
    usage.count("search", "s1", 0.1)
    cpu.seconds += 2.0
    log.close()
    assert usage_of(engine, "s1") == ServingUsage(2, pytest.approx(3.0))


def test_a_million_answers_in_seconds_energy_and_money():
    settings = OperateSettings(watts=10.0, price_per_cpu_hour=0.05)
    cost = cost_of_usage("s1", ServingUsage(2_000, 0.72), settings)  # 0.36 ms an answer: 360 s, 0.1 h a million
    assert cost is not None
    assert cost.cpu_seconds_per_million == pytest.approx(360.0)
    assert cost.watt_hours_per_million == pytest.approx(1.0)
    assert cost.price_per_million == pytest.approx(0.005)


def test_no_price_and_no_answers():
    unpriced = cost_of_usage("s1", ServingUsage(1, 1.0), OperateSettings())
    assert unpriced is not None
    assert unpriced.price_per_million is None
    assert cost_of_usage("s1", ServingUsage(), OperateSettings()) is None
