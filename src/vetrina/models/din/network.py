"""Deep interest network (Zhou et al. 2018): target attention over a user's last events."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EMBEDDING_DIM = 8  # of one category level
ATTENTION_DIM = 32
HIDDEN_DIMS = (64, 32)
DROPOUT = 0.3
_EMBEDDING_STD = 0.1


class DINNetwork(nn.Module):
    """Numeric columns, the candidate's categories and those of the user's last events to the click probability.

    a is the candidate's embedding, h_1 to h_L those of the events, concatenated over the levels. The weight of an event
    is w_l = f([h_l, a, h_l * a, h_l - a]) with f of one hidden layer; the interest sum_l w_l h_l is not divided by the
    sum of the weights, so that it grows with the number of similar events (section 4.3 of the paper). Categories are
    numbered from 1; 0 is a rare or unknown one, and -1 stands for no event.

    Args:
        n_columns: Numeric columns.
        vocabulary_sizes: Categories of each level.
    """

    def __init__(self, n_columns: int, vocabulary_sizes: Sequence[int]) -> None:
        super().__init__()
        width = EMBEDDING_DIM * len(vocabulary_sizes)
        first_ids = torch.tensor([0, *vocabulary_sizes[:-1]], dtype=torch.int64)
        self.register_buffer("offsets", first_ids.cumsum(0))
        self.embedding = nn.Embedding(sum(vocabulary_sizes), EMBEDDING_DIM)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        self.attention = nn.Sequential(nn.Linear(4 * width, ATTENTION_DIM), nn.ReLU(), nn.Linear(ATTENTION_DIM, 1))
        layers: list[nn.Module] = []
        n_inputs = n_columns + 3 * width
        for n_outputs in HIDDEN_DIMS:
            layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU(), nn.Dropout(DROPOUT)]
            n_inputs = n_outputs
        self.deep = nn.Sequential(*layers, nn.Linear(HIDDEN_DIMS[-1], 1))
        self.linear = nn.Linear(n_columns, 1)

    def forward(self, dense_BC: Tensor, candidate_BK: Tensor, history_BLK: Tensor) -> Tensor:
        """Click probabilities.

        Args:
            dense_BC: Numeric columns (rows, columns).
            candidate_BK: Categories of the candidate (rows, levels).
            history_BLK: Categories of the last events (rows, events, levels).

        Returns:
            (rows,).
        """
        is_event_BL1 = (history_BLK[:, :, :1] >= 0).to(dense_BC.dtype)
        candidate_BD = self._embed(candidate_BK).flatten(1)
        history_BLD = self._embed(history_BLK.clamp(min=0)).flatten(2) * is_event_BL1
        expanded_BLD = candidate_BD[:, None].expand_as(history_BLD)
        product_BLD = history_BLD * expanded_BLD
        difference_BLD = history_BLD - expanded_BLD
        pair_BLF = torch.cat([history_BLD, expanded_BLD, product_BLD, difference_BLD], 2)
        weight_BL1 = self.attention(pair_BLF) * is_event_BL1
        interest_BD = (weight_BL1 * history_BLD).sum(1)
        features_BF = torch.cat([dense_BC, candidate_BD, interest_BD, candidate_BD * interest_BD], 1)
        logits_B1 = self.deep(features_BF) + self.linear(dense_BC)
        return torch.sigmoid(logits_B1.squeeze(1))

    def embedding_l2(self, candidate_BK: Tensor) -> Tensor:
        """Mean over rows of the squared embeddings of the candidates (rows, levels)."""
        return self._embed(candidate_BK).square().sum() / max(1, len(candidate_BK))

    def _embed(self, categories: Tensor) -> Tensor:
        return self.embedding(categories.long() + self.offsets)  # pyright: ignore[reportOperatorIssue]
