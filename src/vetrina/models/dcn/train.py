"""Training of a DCN-V2 ensemble from several random restarts with early stopping; predictions are averaged.

With a secondary label, the second head is trained on all rows: the probability of a conversion is the product of both
heads (ESMM), so that rows without a click teach it as well.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask
from vetrina.models.dcn.model import MODEL
from vetrina.models.dcn.network import DCNNetwork
from vetrina.nn import early_stopping, losses
from vetrina.nn.onnx_export import export
from vetrina.nn.optimisers import build_optimiser


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``network.onnx``.

    Args:
        training_data: Needs the encoded table.
        plan: Seed, loss, optimiser and hyper-parameters; ``beginnings`` is the number of restarts.
        into: The output folder.
        progress: Reports the epochs.

    Returns:
        Report: the validation loss of each network, and whether there is a secondary label.
    """
    rows = training_data.encoded_table
    if rows is None:
        raise ValueError("dcn needs an encoded table")
    hyperparameters = MODEL.hyperparameters_in(plan)
    restarts = max(1, int(hyperparameters["beginnings"]))
    networks, validation_losses = fit_networks(rows, plan, progress, restarts)
    save_ensemble(networks, rows, into / "network.onnx")
    return TrainNotes(report={"validation_loss": validation_losses, "second": rows.secondary_label is not None})


def fit_networks(
    rows: EncodedTable, plan: TrainingPlan, progress: Progress, restarts: int, width_divisor: int = 1
) -> tuple[list[DCNNetwork], list[float]]:
    """One network a restart.

    Args:
        rows: Labelled rows, of which a random part is held out for early stopping.
        plan: Seed, loss, optimiser and hyper-parameters.
        progress: Reports the epochs.
        restarts: Number of networks, each with its own seed.
        width_divisor: Divides the hidden layers of each network.

    Returns:
        The networks, and the smallest validation loss of each.
    """
    torch.set_num_threads(1)
    is_held_out = held_out_mask(len(rows), plan.seed)
    hyperparameters = MODEL.hyperparameters_in(plan)
    trainers = []
    for number in range(restarts):
        trainers.append(_NetworkTrainer(rows, is_held_out, plan, plan.seed + number, width_divisor))
    validation_losses = []
    with progress.step("dcn: epochs", len(trainers) * early_stopping.MAX_EPOCHS) as step:
        for trainer in trainers:
            validation_losses.append(trainer.fit(hyperparameters, step.advance))
    return [trainer.network for trainer in trainers], validation_losses


def save_ensemble(networks: list[DCNNetwork], rows: EncodedTable, path: Path) -> None:
    """Writes the mean of several networks as ONNX.

    Args:
        networks: The ensemble.
        rows: An encoded table with the columns of the input.
        path: The file, from ``dense`` (rows, columns) and ``ids`` (rows, category columns) to ``expected`` and
            ``second`` (rows,).
    """
    dense = torch.zeros(2, rows.dense.shape[1])
    ids = torch.zeros(2, rows.category_ids.shape[1], dtype=torch.int32)
    dynamic_axes = {0: {0: "rows"}, 1: {0: "rows"}}
    ensemble = _EnsembleMean(networks).eval()
    export(ensemble, (dense, ids), ("dense", "ids"), ("expected", "second"), dynamic_axes, path)


class _EnsembleMean(nn.Module):
    def __init__(self, networks: list[DCNNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        labels = []
        secondary_labels = []
        for network in self.networks:
            label, secondary_label = network(dense, ids)
            labels.append(label)
            secondary_labels.append(secondary_label)
        return torch.stack(labels).mean(0), torch.stack(secondary_labels).mean(0)


class _NetworkTrainer:
    """One network, initialised from its own seed, and the rows it is trained on."""

    def __init__(
        self, rows: EncodedTable, is_held_out: NDArray[np.bool_], plan: TrainingPlan, seed: int, width_divisor: int
    ) -> None:
        torch.manual_seed(seed)
        is_regression = rows.label_scaler is not None
        self.network = DCNNetwork(rows.dense.shape[1], rows.category_sizes, is_regression, width_divisor)
        self._plan = plan
        self._dense = torch.from_numpy(rows.dense)
        self._ids = torch.from_numpy(np.ascontiguousarray(rows.category_ids))
        self._label = torch.from_numpy(rows.label)
        self._secondary_label = None
        if rows.secondary_label is not None:
            self._secondary_label = torch.from_numpy(rows.secondary_label)
        train_rows = torch.from_numpy(np.flatnonzero(~is_held_out))
        held_out_rows = torch.from_numpy(np.flatnonzero(is_held_out))
        self._split_rows = (train_rows, held_out_rows)
        self._seed = seed

    def fit(self, hyperparameters: Mapping[str, float], advance: Callable[[], object]) -> float:
        """Trains with early stopping; returns the smallest loss on held-out rows, whose weights stay."""
        optimiser, _ = build_optimiser(self._plan.optimiser, self.network.parameters(), hyperparameters["rate"])

        def penalty(batch: Tensor) -> Tensor:
            return hyperparameters["penalty"] * self.network.embedding_l2(self._ids[batch])

        return early_stopping.fit(self.network, optimiser, self._loss, penalty, self._split_rows, self._seed, advance)

    def _loss(self, batch: Tensor) -> Tensor:
        """Loss of the label, and of the secondary label where there is one."""
        prediction, secondary_prediction = self.network(self._dense[batch], self._ids[batch])
        loss = self._label_loss(prediction, batch)
        if self._secondary_label is None:
            return loss
        conversion = prediction * secondary_prediction
        return loss + functional.binary_cross_entropy(conversion, self._secondary_label[batch])

    def _label_loss(self, prediction: Tensor, batch: Tensor) -> Tensor:
        """Loss of the label; adversarial in training where the plan asks for it."""
        label = self._label[batch]
        plain_loss = losses.cross_entropy
        if self.network.is_regression or self._plan.loss == "mse":
            plain_loss = losses.mse
        if self._plan.loss != "adversarial" or not torch.is_grad_enabled():
            return plain_loss(prediction, label)
        ids = self._ids[batch]

        def predict(dense: Tensor) -> Tensor:
            return self.network(dense, ids)[0][:, None]

        return losses.adversarial(predict, self._dense[batch], label, plain_loss, losses.ADVERSARIAL_STEP)
