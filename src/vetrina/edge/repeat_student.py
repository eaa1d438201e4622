"""Student network on repeat-consumption features: how often and how recently a user took each item.

One small network in place of a blend, for shops where users buy the same items again. Training side only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.arrays import Floats

REPEAT_EMBEDDING_DIM = 16  # columns of an item that describe how it is repeated
_HIDDEN_DIM = 64
_POPULARITY_WEIGHT = 0.5
_INITIAL_BIAS = -2.0
_MAX_ATTENTION_LOGIT = 10.0


@dataclass(frozen=True)
class RepeatRequests:
    """Requests of users with a history.

    Attributes:
        items: (n, length) numbers of the user's distinct items, -1 for padding.
        features: (n, length, features) repeat-consumption features of each of them, in half precision, since hundreds of
            thousands of requests are in memory at once.
    """

    items: NDArray[np.int64]
    features: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Items and features of all requests."""
        return self.items, self.features.astype(np.float32)

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Return items and features of some requests, cut to the longest of them."""
        lengths = (self.items[rows] >= 0).sum(1)
        longest = max(1, int(lengths.max()))
        return self.items[rows, :longest], self.features[rows, :longest].astype(np.float32)


class RepeatStudent(nn.Module):
    """Network from items and features of ``RepeatRequests`` to logits of all items (batch, items).

    An item's features and its repeat embedding boost the item itself; the mean of the user's item vectors, weighted by
    attention on the features, scores all items. A cold user gets the bias: the most popular items.

    Args:
        counts: (items,) number of events of each item, all above 0.
        requests: Training requests, by which features are standardised.
        width: Dimension of the item vectors.
    """

    INPUTS = ("items", "facts")
    EXTRA_COLUMNS = REPEAT_EMBEDDING_DIM  # numbers of an item beside its two vectors
    BOOSTED_NEIGHBOURS = 0  # other items that an item boosts

    def __init__(self, counts: Floats, requests: RepeatRequests, width: int) -> None:
        super().__init__()
        features = requests.features[requests.items >= 0]
        n_features = features.shape[1]
        n_items = len(counts)
        mean = features.mean(0, np.float64)
        scale = 1.0 / (features.std(0, np.float64) + 1e-3)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))
        self.repeat_embedding = nn.Embedding(n_items, REPEAT_EMBEDDING_DIM)
        self.input_embedding = nn.Embedding(n_items, width)
        self.output_layer = nn.Linear(width, n_items)
        self.hidden_first = nn.Linear(n_features + REPEAT_EMBEDDING_DIM, _HIDDEN_DIM)
        self.hidden_second = nn.Linear(_HIDDEN_DIM, _HIDDEN_DIM)
        self.boost_layer = nn.Linear(_HIDDEN_DIM, 1)
        self.attention_layer = nn.Linear(n_features, 1)
        nn.init.normal_(self.repeat_embedding.weight, std=0.02)
        nn.init.normal_(self.input_embedding.weight, std=0.05)
        for zero_layer in (self.output_layer, self.boost_layer):
            nn.init.zeros_(zero_layer.weight)
        log_popularity = np.log(counts / counts.max())
        bias = _INITIAL_BIAS + _POPULARITY_WEIGHT * log_popularity
        self.output_layer.bias.data = torch.from_numpy(bias).float()

    def forward(self, items_BL: Tensor, features_BLF: Tensor) -> Tensor:
        """Return logits of all items (batch, items)."""
        logits_BT, items_BK, boosts_BK = self.logits_and_boosts(items_BL, features_BLF)
        return logits_BT.scatter_add(1, items_BK, boosts_BK)

    def logits_and_boosts(self, items_BL: Tensor, features_BLF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of all items without boosts, the boosted items (batch, boosts), and their boosts."""
        rows_BL = items_BL.clamp(min=0).long()
        user_BD, boosts_BL = self.user_vector_and_boosts(
            self.input_embedding(rows_BL), self.repeat_embedding(rows_BL), items_BL, features_BLF
        )
        return self.output_layer(user_BD), rows_BL, boosts_BL

    def user_vector_and_boosts(
        self, x_BLD: Tensor, repeat_BLC: Tensor, items_BL: Tensor, features_BLF: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return user vectors (batch, width) and the boost of each of the user's items (batch, length).

        Args:
            x_BLD: (batch, length, width) vectors of the user's items.
            repeat_BLC: (batch, length, REPEAT_EMBEDDING_DIM) their repeat embeddings.
            items_BL: (batch, length) their numbers, -1 for padding.
            features_BLF: (batch, length, features) their features.
        """
        mask_BL = (items_BL >= 0).to(x_BLD.dtype)
        scaled_BLF = (features_BLF - self.mean) * self.scale  # pyright: ignore[reportOperatorIssue]
        hidden_BLH = F.relu(self.hidden_first(torch.cat([scaled_BLF, repeat_BLC], 2)))
        hidden_BLH = F.relu(self.hidden_second(hidden_BLH))
        attention_BL = self.attention_layer(scaled_BLF)[:, :, 0].clamp(max=_MAX_ATTENTION_LOGIT)
        weight_BL = torch.exp(attention_BL) * mask_BL
        weight_BL = weight_BL / weight_BL.sum(1, keepdim=True).clamp(min=1e-9)
        user_BD = (x_BLD * weight_BL[:, :, None]).sum(1)
        return user_BD, self.boost_layer(hidden_BLH)[:, :, 0] * mask_BL
