"""Engines: bad input in one line, the local engine, and data-parallel gradients."""

import pickle
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

from vetrina.core.errors import BadInput, NotReady
from vetrina.core.settings import load
from vetrina.core.training_plan import Compute, TrainingPlan
from vetrina.engines import check_compute, find_engine
from vetrina.engines.local import LocalEngine
from vetrina.nn.data_parallel import average_gradients, mean_over_workers
from vetrina.nn.devices import mixed_precision, training_device


class Worker:
    """One of two workers, whose sums are those of this one and of what the other one holds."""

    world_size = 2

    def __init__(self, rank: int, of_the_other: torch.Tensor) -> None:
        self.rank = rank
        self._of_the_other = of_the_other

    def all_reduce(self, values: torch.Tensor) -> None:
        values += self._of_the_other

    def start_epoch(self, seed: int) -> None: ...

    def advance(self, amount: float) -> None: ...

    def save_checkpoint(self, state) -> None: ...

    def load_checkpoint(self) -> None: ...


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('engine = "spark"', "engine 'spark' is none of local, ray"),
        ('device = "gpu"', "device 'gpu' is none of auto, cpu, cuda"),
        ("workers = 0", "workers 0 is less than one"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, line, message):
    file = tmp_path / "vetrina.toml"
    file.write_text(f"[train]\n{line}\n")
    with pytest.raises(BadInput, match=message):
        load(file)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"Ray is not installed here; pip install 'vetrina\[ray\]'"):
        check_compute(Compute("ray"))


def test_an_old_ray_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.3")
    with pytest.raises(BadInput, match=r"Ray 2\.9\.3 is too old"):
        check_compute(Compute("ray"))


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:9", "no Ray cluster answers there"), ("127.0.0.1", "is not HOST:PORT"), ("a:b", "is not HOST:PORT")],
)
def test_a_cluster_that_does_not_answer_is_refused(monkeypatch, address, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(metadata, "version", lambda name: "2.60.0")
    with pytest.raises(BadInput, match=message):
        check_compute(Compute("ray", address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(BadInput, match=message):
        find_engine(Compute("ray"), threads=1)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="there is no GPU"):
        check_compute(Compute(device="cuda"))
    check_compute(Compute(device="auto"))


def test_one_thread_stays_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_device(TrainingPlan(threads=2)).type == "cuda"
    assert training_device(TrainingPlan(threads=1)).type == "cpu"
    assert training_device(TrainingPlan(threads=2, compute=Compute(device="cpu"))).type == "cpu"
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_an_error_reaches_another_process_whole():
    error = pickle.loads(pickle.dumps(NotReady("recommend", "has no released version yet", "run it")))
    assert isinstance(error, NotReady)
    assert str(error) == "recommend: has no released version yet; run it"


def test_the_local_engine_computes_when_a_result_is_needed():
    computed = []

    def double(number: int) -> int:
        computed.append(number)
        return 2 * number

    results = LocalEngine().map(double, [1, 2, 3])
    assert next(results) == 2
    assert computed == [1]
    assert list(results) == [4, 6]


def test_averaged_gradients_are_those_of_the_whole_batch():
    """Three rows on one worker and one on the other: the mean over four rows, whatever the parts."""
    torch.manual_seed(1)
    network = nn.Linear(5, 1)
    x = torch.randn(4, 5)
    network(x).square().mean().backward()
    whole = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    network(x[3:]).square().mean().backward()
    other = [parameter.grad.flatten() * 1 for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    network(x[:3]).square().mean().backward()
    total = average_gradients(network.parameters(), 3, Worker(0, torch.cat([*other, torch.ones(1)])))
    assert total == 4
    for parameter, expected in zip(network.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def test_a_worker_without_rows_takes_the_step_of_the_others():
    network = nn.Linear(2, 1, bias=False)
    total = average_gradients(network.parameters(), 0, Worker(1, torch.tensor([6.0, 9.0, 3.0])))
    assert total == 3
    assert network.weight.grad is not None
    assert network.weight.grad.tolist() == [[2.0, 3.0]]


def test_the_mean_over_workers_counts_every_value_once():
    other = torch.tensor([10.0, 2.0])  # sum and count
    assert mean_over_workers(np.array([1.0, 1.0]), Worker(0, other), torch.device("cpu")) == pytest.approx(3.0)
    assert mean_over_workers(np.empty(0), Worker(0, other), torch.device("cpu")) == pytest.approx(5.0)
