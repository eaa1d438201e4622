"""Training of DIN with early stopping; rare categories share one embedding."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import Progress
from vetrina.core.types import Ints, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.random_split import held_out_mask
from vetrina.models.din.model import MODEL
from vetrina.models.din.network import DINNetwork
from vetrina.models.din.online import embedding_ids
from vetrina.nn import early_stopping, losses
from vetrina.nn.onnx_export import export
from vetrina.nn.optimisers import build_optimiser

_MIN_OCCURRENCES = 5  # of a category among candidates and events, for an embedding of its own


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``network.onnx`` and ``vocabularies.npz``, the vocabularies.

    Args:
        training_data: Needs the encoded table.
        plan: Seed, loss, optimiser and hyper-parameters.
        into: The output folder.
        progress: Reports the epochs.

    Returns:
        Report: the validation loss, and the number of categories with their own embedding.
    """
    rows = training_data.encoded_table
    if rows is None:
        raise ValueError("din needs an encoded table")
    hyperparameters = MODEL.hyperparameters_in(plan)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    vocabularies = build_vocabularies(rows)
    vocabulary_sizes = [int(vocabulary.max(initial=0)) + 1 for vocabulary in vocabularies]
    network = DINNetwork(rows.dense.shape[1], vocabulary_sizes)
    batch_loss = _BatchLoss(network, rows, vocabularies, plan.loss)

    def penalty(batch: Tensor) -> Tensor:
        return hyperparameters["penalty"] * network.embedding_l2(batch_loss.candidate_ids[batch])

    is_held_out = held_out_mask(len(rows), plan.seed)
    train_rows = torch.from_numpy(np.flatnonzero(~is_held_out))
    held_out_rows = torch.from_numpy(np.flatnonzero(is_held_out))
    optimiser, _ = build_optimiser(plan.optimiser, network.parameters(), hyperparameters["rate"])
    with progress.step("din: epochs", early_stopping.MAX_EPOCHS) as step:
        validation_loss = early_stopping.fit(
            network, optimiser, batch_loss, penalty, (train_rows, held_out_rows), plan.seed, step.advance
        )
    _export_network(network, rows.dense.shape[1], len(vocabularies), into / "network.onnx")
    arrays: dict[str, Any] = {f"level-{level}": vocabulary for level, vocabulary in enumerate(vocabularies)}
    np.savez(into / "vocabularies.npz", **arrays)
    n_embeddings = sum(int((vocabulary > 0).sum()) for vocabulary in vocabularies)
    return TrainNotes(report={"validation_loss": validation_loss, "vectors": n_embeddings})


class _BatchLoss:
    """The loss of a batch of rows by their numbers; adversarial in training where ``loss_name`` asks for it."""

    def __init__(self, network: DINNetwork, rows: EncodedTable, vocabularies: list[Ints], loss_name: str) -> None:
        candidate_ids, history_ids = embedding_ids(rows, vocabularies)
        self.candidate_ids = torch.from_numpy(candidate_ids)
        self._history_ids = torch.from_numpy(history_ids)
        self._network = network
        self._dense = torch.from_numpy(rows.dense)
        self._label = torch.from_numpy(rows.label)
        self._is_adversarial = loss_name == "adversarial"
        self._plain_loss = losses.mse if loss_name == "mse" else losses.cross_entropy

    def __call__(self, batch: Tensor) -> Tensor:
        dense = self._dense[batch]
        label = self._label[batch]
        candidate_ids = self.candidate_ids[batch]
        history_ids = self._history_ids[batch]
        if not self._is_adversarial or not torch.is_grad_enabled():
            return self._plain_loss(self._network(dense, candidate_ids, history_ids), label)

        def predict(perturbed_dense: Tensor) -> Tensor:
            return self._network(perturbed_dense, candidate_ids, history_ids)[:, None]

        return losses.adversarial(predict, dense, label, self._plain_loss, losses.ADVERSARIAL_STEP)


def _export_network(network: DINNetwork, n_columns: int, n_levels: int, path: Path) -> None:
    """Writes ONNX: ``dense``, ``candidate`` (rows, levels), ``history`` (rows, events, levels) to ``expected`` (rows,)."""
    example = (
        torch.zeros(2, n_columns),
        torch.zeros((2, n_levels), dtype=torch.int32),
        torch.zeros((2, 3, n_levels), dtype=torch.int32),
    )
    dynamic_axes = {0: {0: "rows"}, 1: {0: "rows"}, 2: {0: "rows", 1: "events"}}
    export(network.eval(), example, ("dense", "candidate", "history"), ("expected",), dynamic_axes, path)


def build_vocabularies(rows: EncodedTable) -> list[Ints]:
    """The embedding id (categories,) of each category, from 1, by level; 0 for one of fewer than _MIN_OCCURRENCES."""
    if rows.candidate_levels is None or rows.history_levels is None:
        return [np.zeros(1, np.int32)]
    vocabularies = []
    for level in range(rows.candidate_levels.shape[1]):
        candidates = rows.candidate_levels[:, level]
        events = rows.history_levels[:, :, level].ravel()
        categories = np.concatenate([candidates, events])
        counts = np.bincount(categories[categories >= 0], minlength=1)
        is_frequent = counts >= _MIN_OCCURRENCES
        vocabulary = np.where(is_frequent, np.cumsum(is_frequent), 0)
        vocabularies.append(vocabulary.astype(np.int32))
    return vocabularies
