"""Fine-tuning of pretrained networks: gradual unfreezing (Howard and Ruder 2018) and LoRA (Hu et al. 2021).

Gradual unfreezing trains the upper layers first, more of them with every epoch ("Universal language model fine-tuning"). With
LoRA of rank r each weight W (outputs, inputs) of an unfrozen layer stays, and the network trains W + 2 B A, B (outputs, r) zero
at first and A (r, inputs) random; afterwards the sum is stored as one weight, so serving has the old shape and speed. Training
side only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vetrina.nn.hyperparameters import ALL_LAYERS, FINE_TUNING

_LORA_SCALE = 2.0  # of B A, as the authors' examples have it (alpha = 2 r)


@dataclass(frozen=True)
class FineTuning:
    """Which weights of a pretrained network are trained, and for how long.

    Attributes:
        trainable_layers: Number of layers that are trained, from the top; ALL_LAYERS trains every weight.
        unfreeze_per_epoch: Number of layers that join with each epoch.
        lora_rank: Rank of the LoRA corrections; 0 trains the weights themselves.
        patience: Number of epochs without a gain after which training stops; 0 never stops early.
    """

    trainable_layers: int = ALL_LAYERS
    unfreeze_per_epoch: int = 0
    lora_rank: int = 0
    patience: int = 0

    @classmethod
    def from_hyperparameters(cls, hyperparameters: Mapping[str, float]) -> "FineTuning":
        """Return the fine-tuning that a model's hyper-parameters ask for."""
        return cls(**{name: int(hyperparameters[name]) for name in FINE_TUNING})

    def should_stop(self, best_epoch: int, epoch: int) -> bool:
        """Return whether ``patience`` epochs passed without a gain.

        Args:
            best_epoch: Best epoch so far, counted from 1; 0 before the first gain.
            epoch: Current epoch, counted from 1.
        """
        if not self.patience:
            return False
        return epoch - best_epoch >= self.patience


class LoRA(nn.Module):
    """Parametrisation of W by W + 2 B A; a convolution's kernel counts as one long row an output."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        n_outputs = len(weight)
        n_inputs = weight[0].numel()
        rank = min(rank, n_outputs, n_inputs)
        self.lora_a = nn.Parameter(torch.randn(rank, n_inputs) / n_inputs**0.5)
        self.lora_b = nn.Parameter(torch.zeros(n_outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the corrected weight."""
        correction = _LORA_SCALE * (self.lora_b @ self.lora_a)
        return weight + correction.view_as(weight)


class FineTuner:
    """Freezes and unfreezes the weights of a network while it is trained.

    Args:
        network: The pretrained network.
        layers: Its layers, from the bottom to the top.
        fine_tuning: Which weights are trained.
        epochs: Largest number of epochs.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[nn.Module], fine_tuning: FineTuning, epochs: int = 1
    ) -> None:
        self._network = network
        self._fine_tuning = fine_tuning
        self._layers = list(layers)
        network.requires_grad_(False)
        self._lora_layers: list[nn.Module] = []
        if fine_tuning.lora_rank:
            self._add_lora(epochs)
        self.parameters: list[nn.Parameter] = []
        for layer in self._unfrozen_layers(epochs):
            self.parameters.extend(self._trainable_parameters(layer))
        self.start_epoch(1)

    def _add_lora(self, epochs: int) -> None:
        """Parametrise every weight matrix that will be unfrozen by the last epoch."""
        modules = [module for layer in self._unfrozen_layers(epochs) for module in layer.modules()]
        with_matrix = [module for module in modules if _has_weight_matrix(module)]
        self._lora_layers = list(dict.fromkeys(with_matrix))  # each once
        for module in self._lora_layers:
            weight = module.weight
            lora = LoRA(weight, self._fine_tuning.lora_rank)  # pyright: ignore[reportArgumentType]
            parametrize.register_parametrization(module, "weight", lora)

    def start_epoch(self, epoch: int) -> None:
        """Unfreeze the layers of ``epoch``, counted from 1, and put the network into training mode, frozen layers excepted."""
        self._network.requires_grad_(False)
        self._network.train()
        unfrozen = self._unfrozen_layers(epoch)
        for layer in unfrozen:
            for parameter in self._trainable_parameters(layer):
                parameter.requires_grad_(True)
        if self._fine_tuning.trainable_layers == ALL_LAYERS:
            return
        n_frozen = len(self._layers) - len(unfrozen)
        for layer in self._layers[:n_frozen]:
            layer.eval()  # otherwise batch norms would update their means and variances

    def finish(self) -> None:
        """Merge LoRA corrections into their weights and put the network into evaluation mode."""
        for module in self._lora_layers:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        self._lora_layers = []
        self._network.requires_grad_(False)
        self._network.eval()

    def _unfrozen_layers(self, epoch: int) -> list[nn.Module]:
        if self._fine_tuning.trainable_layers == ALL_LAYERS:
            return [self._network]
        n_unfrozen = self._fine_tuning.trainable_layers + self._fine_tuning.unfreeze_per_epoch * (epoch - 1)
        n_frozen = max(0, len(self._layers) - n_unfrozen)
        return self._layers[n_frozen:]

    def _trainable_parameters(self, layer: nn.Module) -> list[nn.Parameter]:
        if not self._fine_tuning.lora_rank:
            return list(layer.parameters())
        lora_modules = [module for module in layer.modules() if isinstance(module, LoRA)]
        return [parameter for module in lora_modules for parameter in module.parameters()]


def _has_weight_matrix(module: nn.Module) -> bool:
    """Whether the module is linear or a convolution across channels: a kernel of one channel is too small for LoRA."""
    if isinstance(module, nn.Conv2d):
        return module.groups == 1
    return isinstance(module, nn.Linear)
