"""DCN-V2 (Wang et al. 2021) beside a linear part, with a second head for what follows a yes (ESMM, Ma et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EMBEDDING_DIM = 4
HIDDEN_DIMS = (64, 32)
N_CROSS_LAYERS = 2
DROPOUT = 0.3
CROSS_RANK = 32
MAX_FULL_RANK_WIDTH = 256
_EMBEDDING_STD = 0.01


class DCNNetwork(nn.Module):
    """Dense numbers (rows, columns) and ids (rows, k) to the chance of a yes (rows,), and of what follows a yes (rows,).

    Where the label is a ``number``, the first is that number.

    x_0 are the numbers beside the embeddings of the ids; x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, where W_l = U V' of rank RANK if
    x_0 is wide, as it is with words of texts (section 3.2 of the paper). Beside the crosses an MLP reads
    x_0, and each number and id has a weight of its own. RANK and HIDDEN are divided by ``narrow``.
    """

    def __init__(
        self, n_columns: int, vocabulary_sizes: Sequence[int], is_regression: bool = False, width_divisor: int = 1
    ) -> None:
        super().__init__()
        # noise on what goes in draws a number towards the mean
        self.is_regression = is_regression
        share = 0.0 if is_regression else DROPOUT
        offsets = torch.tensor([0, *vocabulary_sizes[:-1]] if vocabulary_sizes else [], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets)
        ids = max(1, sum(vocabulary_sizes))
        width = n_columns + EMBEDDING_DIM * len(vocabulary_sizes)
        self.embedding = nn.Embedding(ids, EMBEDDING_DIM)
        self.id_weights = nn.Embedding(ids, 1)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        nn.init.zeros_(self.id_weights.weight)
        self.linear = nn.Linear(n_columns, 1)
        self.cross_layers = nn.ModuleList(
            _cross_layer(width, CROSS_RANK // width_divisor) for _ in range(N_CROSS_LAYERS)
        )
        layers: list[nn.Module] = []
        hidden = [size // width_divisor for size in HIDDEN_DIMS]
        for inputs, outputs in zip((width, *hidden[:-1]), hidden, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(share)]
        self.deep = nn.Sequential(*layers)
        self.dropout = nn.Dropout(share)
        self.label_head = nn.Linear(width + hidden[-1], 1)
        self.secondary_head = nn.Linear(width + hidden[-1], 1)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Expected labels of both kinds."""
        at = ids.long() + self.offsets  # pyright: ignore[reportOperatorIssue]
        embedded = self.embedding(at).flatten(1)
        start = self.dropout(torch.cat([dense, embedded], 1))
        crossed = start
        for cross in self.cross_layers:
            crossed = start * cross(crossed) + crossed
        found = torch.cat([crossed, self.deep(start)], 1)
        own = self.linear(dense).squeeze(1) + self.id_weights(at).sum(1).squeeze(1)
        first = own + self.label_head(found).squeeze(1)
        return first if self.is_regression else torch.sigmoid(first), torch.sigmoid(
            self.secondary_head(found).squeeze(1)
        )

    def embedding_l2(self, ids: Tensor) -> Tensor:
        """Mean over rows of the squares of what the ids look up: the penalty that falls on a rare value only when it comes."""
        at = ids.long() + self.offsets  # pyright: ignore[reportOperatorIssue]
        return (self.embedding(at).square().sum() + self.id_weights(at).square().sum()) / max(1, len(ids))


def _cross_layer(width: int, rank: int) -> nn.Module:
    if width <= MAX_FULL_RANK_WIDTH:
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
