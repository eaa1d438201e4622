"""Several DCN-V2 from several beginnings, fitted by Adam and stopped early on rows held out by chance; their mean answers.

With ``rows.second`` the second head learns from all rows: the chance of a yes that is followed is the product of both heads
(ESMM), so that rows without a yes teach it, too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.layers import early_stopping, losses
from vetrina.layers.onnx_export import export
from vetrina.layers.optimisers import build_optimiser as optimiser_of
from vetrina.layers.random_split import held_out_mask
from vetrina.models.dcn.network import DCNNetwork

HYPERPARAMETERS = {"rate": 1e-3, "penalty": 1e-2, "beginnings": 2.0}


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx``. Needs ``past.rows``."""
    if training_data.encoded_table is None:
        raise ValueError("dcn needs an encoded table")
    beginnings = max(1, int(plan.hyperparameters_of("dcn", HYPERPARAMETERS)["beginnings"]))
    networks, found = fit_networks(training_data.encoded_table, plan, progress, beginnings)
    save_ensemble(networks, training_data.encoded_table, into / "network.onnx")
    return {"validation_loss": found, "second": training_data.encoded_table.secondary_label is not None}


def fit_networks(
    rows: EncodedTable, plan: TrainingPlan, progress: Progress, restarts: int, width_divisor: int = 1
) -> tuple[list[DCNNetwork], list[float]]:
    """One network for each beginning, its inner layers ``narrow`` times narrower, and the smallest losses on held-out rows."""
    torch.set_num_threads(1)
    held = held_out_mask(len(rows), plan.seed)
    found = []
    begun = [_NetworkTrainer(rows, held, plan, plan.seed + number, width_divisor) for number in range(restarts)]
    with progress.step("dcn: epochs", len(begun) * early_stopping.MAX_EPOCHS) as step:
        for lesson in begun:
            found.append(lesson.fit(plan.hyperparameters_of("dcn", HYPERPARAMETERS), step.advance))
    return [lesson.network for lesson in begun], found


def save_ensemble(networks: list[DCNNetwork], rows: EncodedTable, path: Path) -> None:
    """The mean of several networks as ONNX: ``dense`` and ``ids`` of rows to ``expected`` and ``second`` (rows,)."""
    example = (torch.zeros(2, rows.dense.shape[1]), torch.zeros(2, rows.category_ids.shape[1], dtype=torch.int32))
    free = {0: {0: "rows"}, 1: {0: "rows"}}
    export(_EnsembleMean(networks).eval(), example, ("dense", "ids"), ("expected", "second"), free, path)


class _EnsembleMean(nn.Module):
    def __init__(self, networks: list[DCNNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        first, second = zip(*(network(dense, ids) for network in self.networks), strict=True)
        return torch.stack(first).mean(0), torch.stack(second).mean(0)


class _NetworkTrainer:
    """One network and the rows that it learns from."""

    def __init__(self, rows: EncodedTable, held: np.ndarray, plan: TrainingPlan, seed: int, narrow: int) -> None:
        torch.manual_seed(seed)
        self.network = DCNNetwork(rows.dense.shape[1], rows.category_sizes, rows.label_scaler is not None, narrow)
        self._plan = plan
        self._dense = torch.from_numpy(rows.dense)
        self._ids = torch.from_numpy(np.ascontiguousarray(rows.category_ids))
        self._label = torch.from_numpy(rows.label)
        self._secondary_label = None if rows.secondary_label is None else torch.from_numpy(rows.secondary_label)
        self._split_rows = torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
        self._seed = seed

    def fit(self, hyperparameters: Mapping[str, float], advance: Any) -> float:
        """The smallest loss on held-out rows, whose weights stay."""
        optimiser, _ = optimiser_of(self._plan.optimiser, self.network.parameters(), hyperparameters["rate"])

        def penalty(batch: Tensor) -> Tensor:
            return hyperparameters["penalty"] * self.network.embedding_l2(self._ids[batch])

        return early_stopping.fit(self.network, optimiser, self._loss, penalty, self._split_rows, self._seed, advance)

    def _loss(self, batch: Tensor) -> Tensor:
        dense = self._dense[batch]
        ids = self._ids[batch]
        label = self._label[batch]
        first, second = self.network(dense, ids)
        plain = losses.mse if self.network.is_regression or self._plan.loss == "mse" else losses.cross_entropy
        if self._plan.loss == "adversarial" and torch.is_grad_enabled():
            found = losses.adversarial(
                lambda x: self.network(x, ids)[0][:, None], dense, label, plain, losses.ADVERSARIAL_STEP
            )
        else:
            found = plain(first, label)
        if self._secondary_label is None:
            return found
        return found + functional.binary_cross_entropy(first * second, self._secondary_label[batch])
