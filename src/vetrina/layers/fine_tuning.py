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

ALL_LAYERS = -1
HYPERPARAMETERS = {"trainable_layers": ALL_LAYERS, "unfreeze_per_epoch": 0, "lora_rank": 0, "patience": 0}
_LORA_SCALE = 2.0  # of B A, as the authors' examples have it (alpha = 2 r)


@dataclass(frozen=True)
class FineTuning:
    """``layers`` counts those that learn from the top (ALL: every weight), ``thaw`` those that join with each epoch.

    ``rank`` is of the corrections (0: the weights themselves learn), ``patience`` after how many epochs without a gain it ends
    (0: never).
    """

    trainable_layers: int = ALL_LAYERS
    unfreeze_per_epoch: int = 0
    lora_rank: int = 0
    patience: int = 0

    @classmethod
    def from_hyperparameters(cls, hyperparameters: Mapping[str, float]) -> "FineTuning":
        """From a model's settings."""
        return cls(**{name: int(hyperparameters[name]) for name in HYPERPARAMETERS})

    def should_stop(self, best_epoch: int, epoch: int) -> bool:
        """Whether nothing was gained for so long; epochs count from 1, ``best`` is 0 before the first gain."""
        return bool(self.patience) and epoch - best_epoch >= self.patience


class LoRA(nn.Module):
    """W to W + 2 B A; a convolution's kernel counts as one long row an output."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs = len(weight)
        inputs = weight[0].numel()
        rank = min(rank, outputs, inputs)
        self.lora_a = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.lora_b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that computes."""
        return weight + (_LORA_SCALE * (self.lora_b @ self.lora_a)).view_as(weight)


class FineTuner:
    """A ``network`` whose ``layers``, from the bottom to the top, learn as ``how`` says for at most ``epochs``."""

    def __init__(
        self, network: nn.Module, layers: Sequence[nn.Module], fine_tuning: FineTuning, epochs: int = 1
    ) -> None:
        self._network = network
        self._fine_tuning = fine_tuning
        self._layers = list(layers)
        network.requires_grad_(False)
        self._lora_layers: list[nn.Module] = []
        if fine_tuning.lora_rank:
            weighed = (
                part for layer in self._unfrozen_layers(epochs) for part in layer.modules() if _has_weight_matrix(part)
            )
            self._lora_layers = list(dict.fromkeys(weighed))
            for part in self._lora_layers:
                parametrize.register_parametrization(part, "weight", LoRA(part.weight, fine_tuning.lora_rank))  # pyright: ignore[reportArgumentType]
        self.parameters: list[nn.Parameter] = [
            p for layer in self._unfrozen_layers(epochs) for p in self._trainable_parameters(layer)
        ]
        self.start_epoch(1)

    def start_epoch(self, epoch: int) -> None:
        """Opens what learns in this epoch, counted from 1, and puts the network to training; closed layers only look."""
        self._network.requires_grad_(False)
        self._network.train()
        opened = self._unfrozen_layers(epoch)
        for layer in opened:
            for parameter in self._trainable_parameters(layer):
                parameter.requires_grad_(True)
        if self._fine_tuning.trainable_layers != ALL_LAYERS:
            for layer in self._layers[: len(self._layers) - len(opened)]:
                layer.eval()  # or its means and variances would go on

    def finish(self) -> None:
        """Corrections become part of their weights."""
        for part in self._lora_layers:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
        self._lora_layers = []
        self._network.requires_grad_(False)
        self._network.eval()

    def _unfrozen_layers(self, epoch: int) -> list[nn.Module]:
        if self._fine_tuning.trainable_layers == ALL_LAYERS:
            return [self._network]
        wanted = self._fine_tuning.trainable_layers + self._fine_tuning.unfreeze_per_epoch * (epoch - 1)
        return self._layers[max(0, len(self._layers) - wanted) :]

    def _trainable_parameters(self, layer: nn.Module) -> list[nn.Parameter]:
        if not self._fine_tuning.lora_rank:
            return list(layer.parameters())
        return [p for part in layer.modules() if isinstance(part, LoRA) for p in part.parameters()]


def _has_weight_matrix(part: nn.Module) -> bool:
    """Matrices, also those between the channels of a convolution: a kernel of one channel has no rank to save."""
    return isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1)
