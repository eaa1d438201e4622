"""Losses and optimisers against the page that works them out by hand: docs/explanation/learning.md."""

import numpy as np
import pytest
import torch

from vetrina.core.progress import Silent
from vetrina.core.types import Past, Plan, Rows
from vetrina.layers import losses
from vetrina.layers.optimisers import MOMENTUM, optimiser
from vetrina.metrics.classification import roc_auc
from vetrina.models.mlp import online, train

SAID, TRUE = torch.tensor([0.8, 0.4]), torch.tensor([1.0, 0.0])


class Slope(torch.nn.Module):
    """p = 1 / (1 + e^(-2 x))."""

    def forward(self, x_B1: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2 * x_B1)


def test_losses_are_those_of_the_page():
    assert float(losses.cross_entropy(SAID, TRUE)) == pytest.approx(0.3670, abs=5e-5)
    assert float(losses.mse(SAID, TRUE)) == pytest.approx(0.1, abs=5e-5)
    scores, shares = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert float(losses.listwise(scores, shares)) == pytest.approx(0.4076, abs=5e-5)
    found = losses.adversarial(Slope(), torch.tensor([[1.0]]), torch.tensor([1.0]), losses.cross_entropy, losses.STEP)
    assert float(found.detach()) == pytest.approx(0.1400, abs=5e-5)


@pytest.mark.parametrize(("name", "times", "after"), [("sgd", 100, 0.64), ("momentum", 10, 0.46), ("adam", 1, 0.8004)])
def test_two_steps_are_those_of_the_page(name, times, after):
    assert MOMENTUM == 0.9
    w = torch.tensor([1.0], requires_grad=True)
    takes, rate = optimiser(name, [w], 0.1 / times)
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
    past = Past(rows=Rows(x, label=label))
    train.fit(past, Plan(threads=1, **chosen), tmp_path, Silent())
    assert roc_auc(label, online.open(tmp_path).expected(Rows(x))) > 0.9


def test_learnt_against_the_worst_row_nearby_it_stands_the_worst_row_nearby_better(tmp_path):
    """Of two numbers that tell the same, one is large and one tiny: a small push must not turn the answer."""
    rng = np.random.default_rng(7)
    label = (rng.random(1_500) < 0.5).astype(np.float32)
    sign = 2 * label - 1
    x = np.column_stack([sign + rng.normal(0, 0.6, 1_500), sign * 0.05, rng.normal(size=1_500)]).astype(np.float32)
    said = {}
    for loss in ("cross-entropy", "adversarial"):
        into = tmp_path / loss
        into.mkdir()
        past = Past(rows=Rows(x, label=label))
        train.fit(past, Plan(threads=1, loss=loss), into, Silent())
        pushed = x - losses.STEP * np.outer(sign, [1, 1, 0]).astype(np.float32)
        said[loss] = float(((online.open(into).expected(Rows(pushed)) > 0.5) == (label > 0.5)).mean())
    assert said["adversarial"] > said["cross-entropy"]
