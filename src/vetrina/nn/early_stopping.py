"""Mini-batch training with early stopping on held-out rows. Training side only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MAX_EPOCHS = 40
_BATCH_SIZE = 128
_PATIENCE = 4  # epochs without a smaller held-out loss
_MAX_STEPS = 8_000


def fit(
    network: nn.Module,
    optimiser: Optimizer,
    loss: Callable[[Tensor], Tensor],
    penalty: Callable[[Tensor], Tensor],
    split_rows: tuple[Tensor, Tensor],
    seed: int,
    advance: Callable[[], object],
) -> float:
    """Train ``network``, leave it with the weights of its best epoch, and return their loss on held-out rows.

    Args:
        network: The network.
        optimiser: Optimiser of its parameters.
        loss: Returns the loss of rows by their numbers.
        penalty: Returns what is added to the loss of a training batch, but not to that of held-out rows.
        split_rows: Numbers of training rows and of held-out rows.
        seed: Seed of the order of rows.
        advance: Called after each epoch; there are at most MAX_EPOCHS.
    """
    training_rows, held_out_rows = split_rows
    generator = torch.Generator().manual_seed(seed)
    best_state = _copy_state(network)
    least_loss = float("inf")
    epochs_without_gain = 0
    steps = 0
    for _ in range(MAX_EPOCHS):
        network.train()
        order = torch.randperm(len(training_rows), generator=generator)
        for batch in training_rows[order].split(_BATCH_SIZE):
            optimiser.zero_grad(set_to_none=True)
            (loss(batch) + penalty(batch)).backward()
            optimiser.step()
            steps += 1
        advance()
        network.eval()
        with torch.no_grad():
            held_out_loss = float(loss(held_out_rows))
        if held_out_loss < least_loss:
            best_state = _copy_state(network)
            least_loss = held_out_loss
            epochs_without_gain = 0
        else:
            epochs_without_gain += 1
        if epochs_without_gain > _PATIENCE or steps > _MAX_STEPS:
            break
    network.load_state_dict(best_state)
    return least_loss


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
