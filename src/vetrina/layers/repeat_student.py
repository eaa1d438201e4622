"""A student that reads how often and how lately a user took what: one small network in place of a blend where people take things
again. Training side only."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats

REPEAT_EMBEDDING_DIM = 16  # columns of a product that say how it is taken again
_HIDDEN_DIM = 64
_POPULARITY_WEIGHT = 0.5
_INITIAL_BIAS = -2.0


@dataclass(frozen=True)
class RepeatRequests:
    """``items`` (n, length) numbers of distinct products that a user took, -1 where there is none; ``facts`` (n, length, facts)
    about each of them, in half precision, since hundreds of thousands of requests are held at once."""

    items: NDArray[np.int64]
    features: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Of all requests."""
        return self.items, self.features.astype(np.float32)

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Items and facts."""
        longest = max(1, int((self.items[rows] >= 0).sum(1).max()))
        return self.items[rows, :longest], self.features[rows, :longest].astype(np.float32)


class RepeatStudent(nn.Module):
    """Items and facts as ``Habits`` has them to logits of all products (batch, products).

    What a product's facts and its own few columns say lifts the product itself; the mean of all that was taken, weighed by facts,
    says what else is wanted. Somebody who has taken nothing is answered by what is liked anyway.
    """

    # of a product beside its two vectors, and others that it lifts
    INPUTS = ("items", "facts")
    EXTRA_COLUMNS = REPEAT_EMBEDDING_DIM
    BOOSTED_NEIGHBOURS = 0

    def __init__(self, counts: Floats, requests: RepeatRequests, width: int) -> None:
        """``counts`` (products,) of how often each is taken, all above 0; ``known`` shows how facts are spread."""
        super().__init__()
        facts = requests.features[requests.items >= 0]
        products = len(counts)
        mean = facts.mean(0, np.float64)
        spread = facts.std(0, np.float64)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy((1.0 / (spread + 1e-3)).astype(np.float32)))
        self.repeat_embedding = nn.Embedding(products, REPEAT_EMBEDDING_DIM)
        self.input_embedding = nn.Embedding(products, width)
        self.output_layer = nn.Linear(width, products)
        self.hidden_first = nn.Linear(facts.shape[1] + REPEAT_EMBEDDING_DIM, _HIDDEN_DIM)
        self.hidden_second = nn.Linear(_HIDDEN_DIM, _HIDDEN_DIM)
        self.boost_layer = nn.Linear(_HIDDEN_DIM, 1)
        self.attention_layer = nn.Linear(facts.shape[1], 1)
        nn.init.normal_(self.repeat_embedding.weight, std=0.02)
        nn.init.normal_(self.input_embedding.weight, std=0.05)
        for nothing in (self.output_layer, self.boost_layer):
            nn.init.zeros_(nothing.weight)
        self.output_layer.bias.data = torch.from_numpy(
            _INITIAL_BIAS + _POPULARITY_WEIGHT * np.log(counts / counts.max())
        ).float()

    def forward(self, items_BL: Tensor, features_BLF: Tensor) -> Tensor:
        """Logits of all products."""
        logits_BT, at_BL, by_BL = self.logits_and_boosts(items_BL, features_BLF)
        return logits_BT.scatter_add(1, at_BL, by_BL)

    def logits_and_boosts(self, items_BL: Tensor, features_BLF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all products without lifts, which products are lifted (batch, lifts), and by how much."""
        at_BL = items_BL.clamp(min=0).long()
        user_BD, by_BL = self.user_vector_and_boosts(
            self.input_embedding(at_BL), self.repeat_embedding(at_BL), items_BL, features_BLF
        )
        return self.output_layer(user_BD), at_BL, by_BL

    def user_vector_and_boosts(
        self, x_BLD: Tensor, repeat_BLC: Tensor, items_BL: Tensor, features_BLF: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(batch, width) of the products' vectors, and (batch, length) how much each product is lifted itself."""
        there_BL = (items_BL >= 0).to(x_BLD.dtype)
        known_BLF = (features_BLF - self.mean) * self.scale  # pyright: ignore[reportOperatorIssue]
        hidden_BLH = F.relu(self.hidden_second(F.relu(self.hidden_first(torch.cat([known_BLF, repeat_BLC], 2)))))
        share_BL = torch.exp(self.attention_layer(known_BLF)[:, :, 0].clamp(max=10.0)) * there_BL
        share_BL = share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)
        return (x_BLD * share_BL[:, :, None]).sum(1), self.boost_layer(hidden_BLH)[:, :, 0] * there_BL
