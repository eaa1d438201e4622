"""DCN-V2 (Wang et al. 2021) beside a linear part, with a second head for what follows a yes (ESMM, Ma et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EMBEDDED, HIDDEN, CROSSES, DROPOUT = 4, (64, 32), 2, 0.3
RANK, WIDE = 32, 256
_SCALE = 0.01


class Network(nn.Module):
    """Dense numbers (rows, columns) and ids (rows, k) to the chance of a yes (rows,), and of what follows a yes (rows,).

    Where the label is a ``number``, the first is that number.

    x_0 are the numbers beside the embeddings of the ids; x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, where W_l = U V' of rank RANK if
    x_0 is wide, as it is with words of texts (section 3.2 of the paper). Beside the crosses an MLP reads
    x_0, and each number and id has a weight of its own. RANK and HIDDEN are divided by ``narrow``.
    """

    def __init__(self, columns: int, sizes: Sequence[int], number: bool = False, narrow: int = 1) -> None:
        super().__init__()
        self.number, share = number, 0.0 if number else DROPOUT  # noise on what goes in draws a number towards the mean
        offsets = torch.tensor([0, *sizes[:-1]] if sizes else [], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets)
        ids, width = max(1, sum(sizes)), columns + EMBEDDED * len(sizes)
        self.embedding, self.weight = nn.Embedding(ids, EMBEDDED), nn.Embedding(ids, 1)
        nn.init.normal_(self.embedding.weight, std=_SCALE)
        nn.init.zeros_(self.weight.weight)
        self.linear = nn.Linear(columns, 1)
        self.crosses = nn.ModuleList(_cross(width, RANK // narrow) for _ in range(CROSSES))
        layers: list[nn.Module] = []
        hidden = [size // narrow for size in HIDDEN]
        for inputs, outputs in zip((width, *hidden[:-1]), hidden, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(share)]
        self.deep, self.dropout = nn.Sequential(*layers), nn.Dropout(share)
        self.first, self.second = nn.Linear(width + hidden[-1], 1), nn.Linear(width + hidden[-1], 1)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Expected labels of both kinds."""
        at = ids.long() + self.offsets  # pyright: ignore[reportOperatorIssue]
        embedded = self.embedding(at).flatten(1)
        start = self.dropout(torch.cat([dense, embedded], 1))
        crossed = start
        for cross in self.crosses:
            crossed = start * cross(crossed) + crossed
        found = torch.cat([crossed, self.deep(start)], 1)
        own = self.linear(dense).squeeze(1) + self.weight(at).sum(1).squeeze(1)
        first = own + self.first(found).squeeze(1)
        return first if self.number else torch.sigmoid(first), torch.sigmoid(self.second(found).squeeze(1))

    def embedded_square(self, ids: Tensor) -> Tensor:
        """Mean over rows of the squares of what the ids look up: the penalty that falls on a rare value only when it comes."""
        at = ids.long() + self.offsets  # pyright: ignore[reportOperatorIssue]
        return (self.embedding(at).square().sum() + self.weight(at).square().sum()) / max(1, len(ids))


def _cross(width: int, rank: int) -> nn.Module:
    if width <= WIDE:
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
