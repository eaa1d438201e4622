"""Deep interest network (Zhou et al. 2018): the offer asks each of the last events how much it says about the offer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EMBEDDING_DIM = 8
ATTENTION_DIM = 32
HIDDEN_DIMS = (64, 32)
DROPOUT = 0.3
_EMBEDDING_STD = 0.1


class DINNetwork(nn.Module):
    """Dense numbers (rows, columns), the kinds of what is offered (rows, levels) and of the last events (rows, events, levels)
    to the chance of a yes (rows,).

    a is the offer's embedding, h_1 to h_L those of the events, side by side over the levels. An event weighs
    w_l = f([h_l, a, h_l * a, h_l - a]) with f of one hidden layer; the interest sum_l w_l h_l is not divided by the sum of the
    weights, so that more of the same says more (section 4.3 of the paper). Kinds are numbered from 1, 0 are rare and unknown
    ones, and an event that is not there has -1.
    """

    def __init__(self, n_columns: int, vocabulary_sizes: Sequence[int]) -> None:
        super().__init__()
        width = EMBEDDING_DIM * len(vocabulary_sizes)
        self.register_buffer("offsets", torch.tensor([0, *vocabulary_sizes[:-1]], dtype=torch.int64).cumsum(0))
        self.embedding = nn.Embedding(sum(vocabulary_sizes), EMBEDDING_DIM)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        self.attention = nn.Sequential(nn.Linear(4 * width, ATTENTION_DIM), nn.ReLU(), nn.Linear(ATTENTION_DIM, 1))
        layers: list[nn.Module] = []
        for inputs, outputs in zip((n_columns + 3 * width, *HIDDEN_DIMS[:-1]), HIDDEN_DIMS, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.deep = nn.Sequential(*layers, nn.Linear(HIDDEN_DIMS[-1], 1))
        self.linear = nn.Linear(n_columns, 1)

    def forward(self, dense_BC: Tensor, candidate_BK: Tensor, history_BLK: Tensor) -> Tensor:
        """The chance of a yes."""
        there_BL1 = (history_BLK[:, :, :1] >= 0).to(dense_BC.dtype)
        a_BD = self._embed(candidate_BK).flatten(1)
        h_BLD = self._embed(history_BLK.clamp(min=0)).flatten(2) * there_BL1
        a_BLD = a_BD[:, None].expand_as(h_BLD)
        weight_BL1 = self.attention(torch.cat([h_BLD, a_BLD, h_BLD * a_BLD, h_BLD - a_BLD], 2)) * there_BL1
        interest_BD = (weight_BL1 * h_BLD).sum(1)
        found_BF = torch.cat([dense_BC, a_BD, interest_BD, a_BD * interest_BD], 1)
        return torch.sigmoid((self.deep(found_BF) + self.linear(dense_BC)).squeeze(1))

    def embedding_l2(self, candidate_BK: Tensor) -> Tensor:
        """Mean over rows of the squares of what offers look up."""
        return self._embed(candidate_BK).square().sum() / max(1, len(candidate_BK))

    def _embed(self, kinds: Tensor) -> Tensor:
        return self.embedding(kinds.long() + self.offsets)  # pyright: ignore[reportOperatorIssue]
