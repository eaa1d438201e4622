"""What is done in smaller pieces comes out the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.models.graph_filter.train import fit as fit_graph_filter
from vetrina.models.sasrec.train import fit as fit_sasrec
from vetrina.nn.next_item import training


def past(users: int = 40, items: int = 30) -> TrainingData:
    """Users who go round the catalogue."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(users), 12).astype(np.int32)
    item = ((np.tile(np.arange(12), users) + rng.integers(0, items, users)[user]) % items).astype(np.int32)
    time = 86_400.0 * np.tile(np.arange(12), users) + user
    order = np.argsort(time, kind="stable")
    names = np.array([f"u{n:03d}" for n in range(users)])
    events = Interactions(names, user[order], item[order], time[order], np.ones(len(user), np.float32), 2e6)
    ids = np.array([f"p{n:03d}" for n in range(items)])
    blank = ("",) * items
    unknown = np.full(items, np.nan)
    return TrainingData(Catalogue(ids, blank, blank, blank, blank, blank, unknown, unknown, unknown), events)


# What is dropped is drawn anew for each piece, so nothing is.
PLAN = TrainingPlan(settings={"sasrec": {"epochs": 2, "stop": 2, "dropout": 0.0}})


@pytest.mark.parametrize(("fit", "part"), [(fit_sasrec, "table.npy"), (fit_graph_filter, "values.npy")])
def test_pieces_change_rounding_at_most(fit, part, tmp_path):
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    fit(past(), PLAN, whole, NoProgress())
    fit(past(), replace(PLAN, halvings=2), cut, NoProgress())
    assert np.load(cut / part) == pytest.approx(np.load(whole / part), abs=2e-3)


def test_bf16_changes_rounding_only(monkeypatch, tmp_path):
    """What a GPU computes in bf16, on the processor."""
    whole = tmp_path / "whole"
    rounded = tmp_path / "rounded"
    whole.mkdir()
    rounded.mkdir()
    plan = replace(PLAN, settings={"sasrec": {"epochs": 1, "dropout": 0.0}})
    fit_sasrec(past(users=20), plan, whole, NoProgress())
    monkeypatch.setattr(training, "mixed_precision", lambda device: torch.autocast(device.type, torch.bfloat16))
    fit_sasrec(past(users=20), plan, rounded, NoProgress())
    in_float = np.load(whole / "table.npy")
    in_bf16 = np.load(rounded / "table.npy")
    assert not np.array_equal(in_bf16, in_float)
    assert in_bf16 == pytest.approx(in_float, abs=0.02)
