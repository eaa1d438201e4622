"""A student that reads how often and how lately a user took what: one small network in place of a blend where people take things
again. Training side only."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats

OWN = 16  # columns of a product that say how it is taken again
_HIDDEN, _LIKED, _USUAL = 64, 0.5, -2.0


@dataclass(frozen=True)
class Habits:
    """``items`` (n, length) numbers of distinct products that a user took, -1 where there is none; ``facts`` (n, length, facts)
    about each of them, in half precision, since hundreds of thousands of requests are held at once."""

    items: NDArray[np.int64]
    facts: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Of all requests."""
        return self.items, self.facts.astype(np.float32)

    def of(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Items and facts."""
        longest = max(1, int((self.items[rows] >= 0).sum(1).max()))
        return self.items[rows, :longest], self.facts[rows, :longest].astype(np.float32)


class HabitStudent(nn.Module):
    """Items and facts as ``Habits`` has them to logits of all products (batch, products).

    What a product's facts and its own few columns say lifts the product itself; the mean of all that was taken, weighed by facts,
    says what else is wanted. Somebody who has taken nothing is answered by what is liked anyway.
    """

    INPUTS, COLUMNS, LIFTS = ("items", "facts"), OWN, 0  # of a product beside its two vectors, and others that it lifts

    def __init__(self, counts: Floats, known: Habits, width: int) -> None:
        """``counts`` (products,) of how often each is taken, all above 0; ``known`` shows how facts are spread."""
        super().__init__()
        facts, products = known.facts[known.items >= 0], len(counts)
        mean, spread = facts.mean(0, np.float64), facts.std(0, np.float64)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy((1.0 / (spread + 1e-3)).astype(np.float32)))
        self.own, self.asked = nn.Embedding(products, OWN), nn.Embedding(products, width)
        self.answers = nn.Linear(width, products)
        self.first, self.second = nn.Linear(facts.shape[1] + OWN, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN)
        self.last, self.weight = nn.Linear(_HIDDEN, 1), nn.Linear(facts.shape[1], 1)
        nn.init.normal_(self.own.weight, std=0.02)
        nn.init.normal_(self.asked.weight, std=0.05)
        for nothing in (self.answers, self.last):
            nn.init.zeros_(nothing.weight)
        self.answers.bias.data = torch.from_numpy(_USUAL + _LIKED * np.log(counts / counts.max())).float()

    def forward(self, items_BL: Tensor, facts_BLF: Tensor) -> Tensor:
        """Logits of all products."""
        logits_BT, at_BL, by_BL = self.parts(items_BL, facts_BLF)
        return logits_BT.scatter_add(1, at_BL, by_BL)

    def parts(self, items_BL: Tensor, facts_BLF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all products without lifts, which products are lifted (batch, lifts), and by how much."""
        at_BL = items_BL.clamp(min=0).long()
        user_BD, by_BL = self.user(self.asked(at_BL), self.own(at_BL), items_BL, facts_BLF)
        return self.answers(user_BD), at_BL, by_BL

    def user(self, x_BLD: Tensor, own_BLC: Tensor, items_BL: Tensor, facts_BLF: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width) of the products' vectors, and (batch, length) how much each product is lifted itself."""
        there_BL = (items_BL >= 0).to(x_BLD.dtype)
        known_BLF = (facts_BLF - self.mean) * self.scale  # pyright: ignore[reportOperatorIssue]
        hidden_BLH = F.relu(self.second(F.relu(self.first(torch.cat([known_BLF, own_BLC], 2)))))
        share_BL = torch.exp(self.weight(known_BLF)[:, :, 0].clamp(max=10.0)) * there_BL
        share_BL = share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)
        return (x_BLD * share_BL[:, :, None]).sum(1), self.last(hidden_BLH)[:, :, 0] * there_BL
