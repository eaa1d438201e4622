"""What of a pretrained network learns on: upper layers, more of them with every epoch, or small corrections of them.

Layers open from the top (gradual unfreezing; Howard and Ruder 2018, "Universal language model fine-tuning"). With a ``rank`` r
each weight W (outputs, inputs) of an open layer stays, and W + B A learns, B (outputs, r) zero at first and A (r, inputs) drawn
(LoRA; Hu et al. 2021); afterwards the sum is one weight again, so what serves has the old shape and speed. Training side only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ALL = -1
SETTINGS = {"layers": ALL, "thaw": 0, "rank": 0, "patience": 0}
_SCALE = 2.0  # of B A, as the authors' examples have it (alpha = 2 r)


@dataclass(frozen=True)
class Transfer:
    """``layers`` counts those that learn from the top (ALL: every weight), ``thaw`` those that join with each epoch.

    ``rank`` is of the corrections (0: the weights themselves learn), ``patience`` after how many epochs without a gain it ends
    (0: never).
    """

    layers: int = ALL
    thaw: int = 0
    rank: int = 0
    patience: int = 0

    @classmethod
    def of(cls, chosen: Mapping[str, float]) -> "Transfer":
        """From a model's settings."""
        return cls(**{name: int(chosen[name]) for name in SETTINGS})

    def over(self, best: int, epoch: int) -> bool:
        """Whether nothing was gained for so long; epochs count from 1, ``best`` is 0 before the first gain."""
        return bool(self.patience) and epoch - best >= self.patience


class LowRank(nn.Module):
    """W to W + 2 B A; a convolution's kernel counts as one long row an output."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = len(weight), weight[0].numel()
        rank = min(rank, outputs, inputs)
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that computes."""
        return weight + (_SCALE * (self.up @ self.down)).view_as(weight)


class Learner:
    """A ``network`` whose ``layers``, from the bottom to the top, learn as ``how`` says for at most ``epochs``."""

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], how: Transfer, epochs: int = 1) -> None:
        self._network, self._how = network, how
        self._layers = list(layers)
        network.requires_grad_(False)
        self._low: list[nn.Module] = []
        if how.rank:
            weighed = (part for layer in self._opened(epochs) for part in layer.modules() if _weighs(part))
            self._low = list(dict.fromkeys(weighed))
            for part in self._low:
                parametrize.register_parametrization(part, "weight", LowRank(part.weight, how.rank))  # pyright: ignore[reportArgumentType]
        self.parameters: list[nn.Parameter] = [p for layer in self._opened(epochs) for p in self._learnt(layer)]
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Opens what learns in this epoch, counted from 1, and puts the network to training; closed layers only look."""
        self._network.requires_grad_(False)
        self._network.train()
        opened = self._opened(epoch)
        for layer in opened:
            for parameter in self._learnt(layer):
                parameter.requires_grad_(True)
        if self._how.layers != ALL:
            for layer in self._layers[: len(self._layers) - len(opened)]:
                layer.eval()  # or its means and variances would go on

    def end(self) -> None:
        """Corrections become part of their weights."""
        for part in self._low:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
        self._low = []
        self._network.requires_grad_(False)
        self._network.eval()

    def _opened(self, epoch: int) -> list[nn.Module]:
        if self._how.layers == ALL:
            return [self._network]
        wanted = self._how.layers + self._how.thaw * (epoch - 1)
        return self._layers[max(0, len(self._layers) - wanted) :]

    def _learnt(self, layer: nn.Module) -> list[nn.Parameter]:
        if not self._how.rank:
            return list(layer.parameters())
        return [p for part in layer.modules() if isinstance(part, LowRank) for p in part.parameters()]


def _weighs(part: nn.Module) -> bool:
    """Matrices, also those between the channels of a convolution: a kernel of one channel has no rank to save."""
    return isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1)
