"""DCN-V2 (Wang et al. 2021) with a linear part and a conversion head (ESMM, Ma et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EMBEDDING_DIM = 4
HIDDEN_DIMS = (64, 32)
N_CROSS_LAYERS = 2
DROPOUT = 0.3
CROSS_RANK = 32  # of a cross layer whose input is wide
MAX_FULL_RANK_WIDTH = 256  # columns; a wider cross layer is factorised
_EMBEDDING_STD = 0.01


class DCNNetwork(nn.Module):
    """Numeric columns and category ids of rows to the click probability, and to that of a conversion after a click.

    x_0 is the concatenation of the numeric columns and the embeddings of the ids;
    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, where W_l = U V' of rank CROSS_RANK if x_0 is wide, as with words of texts
    (section 3.2 of the paper). An MLP reads x_0 beside the cross layers, and each column and id has a linear weight.

    Args:
        n_columns: Numeric columns.
        vocabulary_sizes: Ids of each category column.
        is_regression: The label is a number; the first output then is that number.
        width_divisor: Divides CROSS_RANK and HIDDEN_DIMS.
    """

    def __init__(
        self, n_columns: int, vocabulary_sizes: Sequence[int], is_regression: bool = False, width_divisor: int = 1
    ) -> None:
        super().__init__()
        self.is_regression = is_regression
        dropout = DROPOUT
        if is_regression:
            dropout = 0.0  # noise in the inputs would shrink predictions towards the mean
        first_ids = [0, *vocabulary_sizes[:-1]] if vocabulary_sizes else []
        self.register_buffer("offsets", torch.tensor(first_ids, dtype=torch.int64).cumsum(0))
        n_ids = max(1, sum(vocabulary_sizes))
        width = n_columns + EMBEDDING_DIM * len(vocabulary_sizes)
        self.embedding = nn.Embedding(n_ids, EMBEDDING_DIM)
        self.id_weights = nn.Embedding(n_ids, 1)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        nn.init.zeros_(self.id_weights.weight)
        self.linear = nn.Linear(n_columns, 1)
        rank = CROSS_RANK // width_divisor
        self.cross_layers = nn.ModuleList(_cross_layer(width, rank) for _ in range(N_CROSS_LAYERS))
        hidden_dims = [size // width_divisor for size in HIDDEN_DIMS]
        layers: list[nn.Module] = []
        n_inputs = width
        for n_outputs in hidden_dims:
            layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU(), nn.Dropout(dropout)]
            n_inputs = n_outputs
        self.deep = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.label_head = nn.Linear(width + hidden_dims[-1], 1)
        self.secondary_head = nn.Linear(width + hidden_dims[-1], 1)

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions for rows.

        Args:
            dense: Numeric columns (rows, columns).
            ids: Category ids (rows, category columns).

        Returns:
            Click probability, or the number of a regression (rows,), and conversion probability after a click (rows,).
        """
        embedding_rows = self._embedding_rows(ids)
        embedded = self.embedding(embedding_rows).flatten(1)
        x_0 = self.dropout(torch.cat([dense, embedded], 1))
        crossed = x_0
        for cross_layer in self.cross_layers:
            crossed = x_0 * cross_layer(crossed) + crossed
        features = torch.cat([crossed, self.deep(x_0)], 1)
        linear = self.linear(dense).squeeze(1) + self.id_weights(embedding_rows).sum(1).squeeze(1)
        label = linear + self.label_head(features).squeeze(1)
        if not self.is_regression:
            label = torch.sigmoid(label)
        return label, torch.sigmoid(self.secondary_head(features).squeeze(1))

    def embedding_l2(self, ids: Tensor) -> Tensor:
        """Mean over rows of their squared embeddings: a rare value is penalised only where it occurs."""
        embedding_rows = self._embedding_rows(ids)
        squares = self.embedding(embedding_rows).square().sum() + self.id_weights(embedding_rows).square().sum()
        return squares / max(1, len(ids))

    def _embedding_rows(self, ids: Tensor) -> Tensor:
        return ids.long() + self.offsets  # pyright: ignore[reportOperatorIssue]


def _cross_layer(width: int, rank: int) -> nn.Module:
    if width <= MAX_FULL_RANK_WIDTH:
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
