"""Fitted by Adam and stopped early on rows held out by chance; kinds that come too seldom to learn anything of share a vector."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import Ints, TrainingData, TrainingPlan
from vetrina.layers import early_stopping, losses
from vetrina.layers.onnx_export import export
from vetrina.layers.optimisers import build_optimiser as optimiser_of
from vetrina.layers.random_split import held_out_mask
from vetrina.models.din.network import DINNetwork
from vetrina.models.din.online import embedding_ids

HYPERPARAMETERS = {"rate": 1e-3, "penalty": 1e-3}
_MIN_OCCURRENCES = 5  # times that a kind was offered or done before it gets a vector of its own


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx`` and ``numbers.npz``. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("din needs an encoded table")
    rows = training_data.encoded_table
    chosen = plan.hyperparameters_of("din", HYPERPARAMETERS)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    numbers = build_vocabularies(rows)
    network = DINNetwork(rows.dense.shape[1], [int(n.max(initial=0)) + 1 for n in numbers])
    dense = torch.from_numpy(rows.dense)
    label = torch.from_numpy(rows.label)
    asked, before = (torch.from_numpy(found) for found in embedding_ids(rows, numbers))
    plain = losses.mse if plan.loss == "mse" else losses.cross_entropy

    def loss(batch: Tensor) -> Tensor:
        offered = asked[batch], before[batch]
        if plan.loss == "adversarial" and torch.is_grad_enabled():
            return losses.adversarial(
                lambda x: network(x, *offered)[:, None], dense[batch], label[batch], plain, losses.ADVERSARIAL_STEP
            )
        return plain(network(dense[batch], *offered), label[batch])

    def penalty(batch: Tensor) -> Tensor:
        return chosen["penalty"] * network.embedding_l2(asked[batch])

    held = held_out_mask(len(rows), plan.seed)
    parts = torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
    optimiser, _ = optimiser_of(plan.optimiser, network.parameters(), chosen["rate"])
    with progress.step("din: epochs", early_stopping.MAX_EPOCHS) as step:
        found = early_stopping.fit(network, optimiser, loss, penalty, parts, plan.seed, step.advance)
    levels = len(numbers)
    example = (
        torch.zeros(2, dense.shape[1]),
        *(torch.zeros(s, dtype=torch.int32) for s in ((2, levels), (2, 3, levels))),
    )
    free = {0: {0: "rows"}, 1: {0: "rows"}, 2: {0: "rows", 1: "events"}}
    export(network.eval(), example, ("dense", "asked", "before"), ("expected",), free, into / "network.onnx")
    named: dict[str, Any] = {f"level-{at}": known for at, known in enumerate(numbers)}
    np.savez(into / "numbers.npz", **named)
    return {"validation_loss": found, "vectors": sum(int((n > 0).sum()) for n in numbers)}


def build_vocabularies(rows: EncodedTable) -> list[Ints]:
    """Of each level the number (kinds,) of every kind, from 1 on; 0 for those that came fewer than _LEAST times."""
    if rows.candidate_levels is None or rows.history_levels is None:
        return [np.zeros(1, np.int32)]
    found = []
    for level in range(rows.candidate_levels.shape[1]):
        seen = np.concatenate([rows.candidate_levels[:, level], rows.history_levels[:, :, level].ravel()])
        often = np.bincount(seen[seen >= 0], minlength=1) >= _MIN_OCCURRENCES
        found.append(np.where(often, np.cumsum(often), 0).astype(np.int32))
    return found
