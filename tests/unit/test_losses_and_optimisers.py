"""Losses and optimisers against the page that works them out by hand: docs/explanation/learning.md."""

import numpy as np
import pytest
import torch

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Interactions, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.classification import roc_auc
from vetrina.models.mlp import online, train
from vetrina.nn import losses
from vetrina.nn.optimisers import MOMENTUM, build_optimiser, one_cycle_schedule

SAID = torch.tensor([0.8, 0.4])
TRUE = torch.tensor([1.0, 0.0])


class Slope(torch.nn.Module):
    """p = 1 / (1 + e^(-2 x))."""

    def forward(self, x_B1: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2 * x_B1)


def test_losses_are_those_of_the_page():
    assert float(losses.cross_entropy(SAID, TRUE)) == pytest.approx(0.3670, abs=5e-5)
    assert float(losses.mse(SAID, TRUE)) == pytest.approx(0.1, abs=5e-5)
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    shares = torch.tensor([[1.0, 0.0, 0.0]])
    assert float(losses.listwise(scores, shares)) == pytest.approx(0.4076, abs=5e-5)
    loss = losses.adversarial(
        Slope(), torch.tensor([[1.0]]), torch.tensor([1.0]), losses.cross_entropy, losses.ADVERSARIAL_STEP
    )
    assert float(loss.detach()) == pytest.approx(0.1400, abs=5e-5)


@pytest.mark.parametrize(("name", "times", "after"), [("sgd", 100, 0.64), ("momentum", 10, 0.46), ("adam", 1, 0.8004)])
def test_two_steps_are_those_of_the_page(name, times, after):
    assert MOMENTUM == 0.9
    w = torch.tensor([1.0], requires_grad=True)
    takes, rate = build_optimiser(name, [w], 0.1 / times)
    assert rate == pytest.approx(0.1)
    for _ in range(2):
        takes.zero_grad()
        (w**2).sum().backward()
        takes.step()
    assert float(w.detach()) == pytest.approx(after, abs=5e-5)


@pytest.mark.parametrize(
    "chosen", [{"optimiser": "sgd"}, {"optimiser": "momentum"}, {"loss": "mse"}, {"loss": "adversarial"}]
)
def test_the_network_of_predict_learns_with_each(chosen, tmp_path):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1_200, 4)).astype(np.float32)
    label = (x[:, 0] * x[:, 1] > 0).astype(np.float32)
    past = TrainingData(encoded_table=EncodedTable(x, label=label))
    train.fit(past, TrainingPlan(threads=1, **chosen), tmp_path, NoProgress())
    assert roc_auc(label, online.load(tmp_path).predict(EncodedTable(x))) > 0.9


def test_learnt_against_the_worst_row_nearby_it_stands_the_worst_row_nearby_better(tmp_path):
    """Of two numbers that tell the same, one is large and one tiny: a small push must not turn the answer."""
    rng = np.random.default_rng(7)
    label = (rng.random(1_500) < 0.5).astype(np.float32)
    sign = 2 * label - 1
    x = np.column_stack([sign + rng.normal(0, 0.6, 1_500), sign * 0.05, rng.normal(size=1_500)]).astype(np.float32)
    scores = {}
    for loss in ("cross-entropy", "adversarial"):
        into = tmp_path / loss
        into.mkdir()
        past = TrainingData(encoded_table=EncodedTable(x, label=label))
        train.fit(past, TrainingPlan(threads=1, loss=loss), into, NoProgress())
        pushed = x - losses.ADVERSARIAL_STEP * np.outer(sign, [1, 1, 0]).astype(np.float32)
        scores[loss] = float(((online.load(into).predict(EncodedTable(pushed)) > 0.5) == (label > 0.5)).mean())
    assert scores["adversarial"] > scores["cross-entropy"]


@pytest.mark.parametrize("n_steps", [1, 8, 9, 10, 30])
def test_a_one_cycle_schedule_of_any_length_ends_low(n_steps):
    """Nine steps and one more make a warm-up of one step, by whose length less one torch would divide."""
    optimiser, rate = build_optimiser("adam", [torch.nn.Parameter(torch.zeros(1))], 1e-3)
    schedule = one_cycle_schedule(optimiser, rate, n_steps)
    rates = schedule.get_last_lr()
    for _ in range(n_steps):
        optimiser.step()
        schedule.step()
        rates += schedule.get_last_lr()
    assert np.isfinite(rates).all()
    assert rates[-1] < 1e-3 * rate
    assert max(rates) <= rate * (1.0 + 1e-9)


def test_the_adversarial_loss_of_products_is_the_mean_of_now_and_of_the_worst_push():
    """One user with one step: pushed vectors can only raise the loss, and the gradient reaches the table."""
    from vetrina.nn.next_item import training
    from vetrina.nn.next_item.baskets import Baskets
    from vetrina.nn.next_item.negative_sampling import NegativeSampler

    class Looked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vectors = torch.nn.Parameter(torch.randn(12, 6, generator=torch.Generator().manual_seed(1)))

        def forward(self, inputs: np.ndarray) -> torch.Tensor:
            return self.vectors[torch.from_numpy(inputs)]

    class Plain:
        def encode(self, x: torch.Tensor, ages: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
            return x

        def user_vectors(self, x: torch.Tensor) -> torch.Tensor:
            return x

    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(20), 6)
    item = rng.integers(0, 12, 120)
    events = Interactions(
        np.array([f"u{n:02d}" for n in range(20)]), user.astype(np.int32), item.astype(np.int32),
        np.arange(120, dtype=np.float64), np.ones(120, np.float32), 999.0,
    )  # fmt: skip
    baskets = Baskets(events, item.astype(np.int64), 12, 10)
    data = training._SequenceData(baskets, NegativeSampler(np.bincount(item, minlength=12), 8), 0.1)
    table = Looked()
    batch = baskets.batch(baskets.windows)

    def losses_at(seed: int) -> tuple[float, float]:
        drawn = data.draw(len(batch.gaps), np.random.default_rng(seed))
        usual = training.sampled_softmax_loss(table, Plain(), batch, data, drawn)
        pushed = training.adversarial_softmax_loss(table, Plain(), batch, data, drawn)
        return float(usual.detach()), float(pushed.detach())

    for seed in range(5):
        usual, pushed = losses_at(seed)
        assert usual < pushed < 2 * usual
    drawn = data.draw(len(batch.gaps), np.random.default_rng(0))
    training.adversarial_softmax_loss(table, Plain(), batch, data, drawn).backward()
    assert table.vectors.grad is not None
    assert float(table.vectors.grad.abs().sum()) > 0
