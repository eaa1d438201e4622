"""Fits a network in small batches until rows that it does not learn from stop getting better. Training side only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MAX_EPOCHS = 40
_BATCH_SIZE = 128
_PATIENCE = 4
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
    """The smallest ``loss`` on held-out rows, whose weights stay.

    ``rows`` are the numbers of those to learn from and of those held out; ``loss`` and ``penalty`` say what a batch of such
    numbers costs, and only the first counts on held-out rows. At most EPOCHS; ``advance`` is called after each.
    """
    rest, held = split_rows
    order = torch.Generator().manual_seed(seed)
    best = _copy_state(network)
    least = float("inf")
    since = 0
    steps = 0
    for _ in range(MAX_EPOCHS):
        network.train()
        for batch in rest[torch.randperm(len(rest), generator=order)].split(_BATCH_SIZE):
            optimiser.zero_grad(set_to_none=True)
            (loss(batch) + penalty(batch)).backward()
            optimiser.step()
            steps += 1
        advance()
        network.eval()
        with torch.no_grad():
            found = float(loss(held))
        since = 0 if found < least else since + 1
        if found < least:
            best = _copy_state(network)
            least = found
        if since > _PATIENCE or steps > _MAX_STEPS:
            break
    network.load_state_dict(best)
    return least


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
