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

from vetrina.core.progress import Progress
from vetrina.core.tables import Rows
from vetrina.core.types import Past, Plan
from vetrina.layers import early_stopping, losses
from vetrina.layers.held_rows import held_out
from vetrina.layers.onnx_export import export
from vetrina.layers.optimisers import optimiser as optimiser_of
from vetrina.models.dcn.network import Network

SETTINGS = {"rate": 1e-3, "penalty": 1e-2, "beginnings": 2.0}


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``network.onnx``. Needs ``past.rows``."""
    if past.rows is None:
        raise ValueError("dcn needs an encoded table")
    beginnings = max(1, int(plan.of("dcn", SETTINGS)["beginnings"]))
    networks, found = learnt(past.rows, plan, progress, beginnings)
    save(networks, past.rows, into / "network.onnx")
    return {"validation_loss": found, "second": past.rows.second is not None}


def learnt(
    rows: Rows, plan: Plan, progress: Progress, beginnings: int, narrow: int = 1
) -> tuple[list[Network], list[float]]:
    """One network for each beginning, its inner layers ``narrow`` times narrower, and the smallest losses on held-out rows."""
    torch.set_num_threads(1)
    held, found = held_out(len(rows), plan.seed), []
    begun = [_Lesson(rows, held, plan, plan.seed + number, narrow) for number in range(beginnings)]
    with progress.step("dcn: epochs", len(begun) * early_stopping.EPOCHS) as step:
        for lesson in begun:
            found.append(lesson.learn(plan.of("dcn", SETTINGS), step.advance))
    return [lesson.network for lesson in begun], found


def save(networks: list[Network], rows: Rows, path: Path) -> None:
    """The mean of several networks as ONNX: ``dense`` and ``ids`` of rows to ``expected`` and ``second`` (rows,)."""
    example = (torch.zeros(2, rows.dense.shape[1]), torch.zeros(2, rows.ids.shape[1], dtype=torch.int32))
    free = {0: {0: "rows"}, 1: {0: "rows"}}
    export(_Mean(networks).eval(), example, ("dense", "ids"), ("expected", "second"), free, path)


class _Mean(nn.Module):
    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        first, second = zip(*(network(dense, ids) for network in self.networks), strict=True)
        return torch.stack(first).mean(0), torch.stack(second).mean(0)


class _Lesson:
    """One network and the rows that it learns from."""

    def __init__(self, rows: Rows, held: np.ndarray, plan: Plan, seed: int, narrow: int) -> None:
        torch.manual_seed(seed)
        self.network = Network(rows.dense.shape[1], rows.sizes, rows.number is not None, narrow)
        self._plan = plan
        self._dense, self._ids = torch.from_numpy(rows.dense), torch.from_numpy(np.ascontiguousarray(rows.ids))
        self._label = torch.from_numpy(rows.label)
        self._second = None if rows.second is None else torch.from_numpy(rows.second)
        self._rows = torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
        self._seed = seed

    def learn(self, chosen: Mapping[str, float], advance: Any) -> float:
        """The smallest loss on held-out rows, whose weights stay."""
        optimiser, _ = optimiser_of(self._plan.optimiser, self.network.parameters(), chosen["rate"])

        def penalty(batch: Tensor) -> Tensor:
            return chosen["penalty"] * self.network.embedded_square(self._ids[batch])

        return early_stopping.learn(self.network, optimiser, self._loss, penalty, self._rows, self._seed, advance)

    def _loss(self, batch: Tensor) -> Tensor:
        dense, ids, label = self._dense[batch], self._ids[batch], self._label[batch]
        first, second = self.network(dense, ids)
        plain = losses.mse if self.network.number or self._plan.loss == "mse" else losses.cross_entropy
        if self._plan.loss == "adversarial" and torch.is_grad_enabled():
            found = losses.adversarial(lambda x: self.network(x, ids)[0][:, None], dense, label, plain, losses.STEP)
        else:
            found = plain(first, label)
        if self._second is None:
            return found
        return found + functional.binary_cross_entropy(first * second, self._second[batch])
