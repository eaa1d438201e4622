"""A student that reads a user's last products: one small network in place of a whole blend.

Products begin as the singular vectors of what the teacher says after each product alone, so that the student begins as the best
linear map of its rank. Training side only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats, Ints
from vetrina.layers.distillation import Told
from vetrina.retrieval.next_item import GAPS

NEAR = 32
_ASKED, _SEEN, _FADE, _SHARP = 32, 64, 0.3, 20.0
_NOTHING = -1e9


@dataclass(frozen=True)
class Sequences:
    """``items`` (n, length) numbers of the last products, the newest first, -1 where there is none; ``gaps`` (n, length) as
    ``retrieval.next_item.gaps`` gives them."""

    items: NDArray[np.int64]
    gaps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Of all requests."""
        return self.items, self.gaps

    def of(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Items and gaps."""
        longest = max(1, int((self.items[rows] >= 0).sum(1).max()))
        return self.items[rows, :longest], self.gaps[rows, :longest]


@dataclass(frozen=True)
class Begin:
    """What a student begins with: ``asked`` and ``answers`` (products, width), and beside them what the teacher says after each
    product alone and they do not: ``near`` (products, k) products and ``more`` (products, k) of their logits."""

    asked: Floats
    answers: Floats
    near: Ints
    more: Floats


class SequenceStudent(nn.Module):
    """Items and gaps as ``Sequences`` has them (batch, length) to logits of all products (batch, products).

    Attention and pooling look along the products; each product also lifts a few others directly, for what vectors
    of so few columns cannot say of single products. An empty history is answered by what is liked anyway.
    """

    INPUTS, COLUMNS, LIFTS = ("items", "gaps"), 0, NEAR  # of a product beside its two vectors, and others that it lifts

    def __init__(self, begin: Begin, length: int) -> None:
        super().__init__()
        width = begin.asked.shape[1]
        self.asked = nn.Embedding.from_pretrained(torch.from_numpy(begin.asked.copy()), freeze=False)
        self.answers = nn.Linear(width, len(begin.answers))
        self.answers.weight.data = torch.from_numpy(begin.answers.copy())
        self.sharp = nn.Parameter(torch.tensor(_SHARP))  # apart from the vectors, which may then learn in small steps
        nn.init.zeros_(self.answers.bias)
        self.gap, self.place = nn.Embedding(GAPS, width), nn.Parameter(torch.zeros(length, width))
        self.age = nn.Parameter(-_FADE * torch.arange(length).float())
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.seen, self.out = nn.Linear(width, 2 * _ASKED + _SEEN), nn.Linear(_SEEN, width)
        self.weight, self.wide, self.narrow = nn.Linear(width, 1), nn.Linear(width, width), nn.Linear(width, width)
        self.register_buffer("near", torch.from_numpy(begin.near.astype(np.int32)))
        self.more = nn.Embedding.from_pretrained(torch.from_numpy(begin.more.copy()), freeze=False)
        self.near_age, self.near_gap = nn.Parameter(self.age.detach().clone()), nn.Embedding(GAPS, 1)
        for nothing in (self.gap, self.near_gap, self.weight, self.out, self.narrow):
            for parameter in nothing.parameters():
                nn.init.zeros_(parameter)

    def forward(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Logits of all products."""
        logits_BT, at_BN, by_BN = self.parts(items_BL, gaps_BL)
        return logits_BT.scatter_add(1, at_BN, by_BN)

    def parts(self, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all products without lifts, which products are lifted (batch, lifts), and by how much."""
        own_BL = items_BL.clamp(min=0)
        logits_BT = self.answers(self.user(self.asked(own_BL), items_BL, gaps_BL))
        lift_BLK = self.more(own_BL) * self.share(items_BL, gaps_BL)[:, :, None]
        return logits_BT, self.near[own_BL].flatten(1).long(), lift_BLK.flatten(1)  # pyright: ignore[reportIndexIssue]

    def share(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, length) how much each product's own lifts count; of a history they sum to 1."""
        there_BL = (items_BL >= 0).to(self.near_age.dtype)
        known_BL = self.near_gap(gaps_BL)[:, :, 0] + self.near_age[: items_BL.shape[1]]
        share_BL = torch.exp(known_BL.clamp(max=20.0)) * there_BL
        return share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)

    def user(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, width) of the products' vectors."""
        length, there_BL = items_BL.shape[1], (items_BL >= 0).to(x_BLD.dtype)
        known_BLD = self.before(x_BLD) + self.place[:length] + self.gap(gaps_BL)
        q_BLK, k_BLK, v_BLV = self.seen(known_BLD).split((_ASKED, _ASKED, _SEEN), dim=2)
        away_BL = (1.0 - there_BL) * _NOTHING
        mixed_BLL = torch.softmax(q_BLK @ k_BLK.transpose(1, 2) / _ASKED**0.5 + away_BL[:, None], dim=-1)
        x_BLD = x_BLD + self.out(mixed_BLL @ v_BLV)
        share_BL = torch.exp((self.weight(known_BLD)[:, :, 0] + self.age[:length]).clamp(max=20.0)) * there_BL
        share_BL = share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)
        u_BD = (x_BLD * share_BL[:, :, None]).sum(1)
        return self.sharp * (u_BD + self.narrow(F.gelu(self.wide(self.between(u_BD)))))


def begin(told: Told, products: int, width: int, alone: NDArray[np.intp]) -> Begin:
    """Singular vectors of the teacher's answers after each single product, and where they are off for its best NEAR.

    ``alone`` (products,) are the rows of ``told`` that are about one product each.
    """
    found, scores = told.items[alone], told.scaled(alone)
    shape = (products, products)
    matrix = sparse.csr_array(
        (scores.ravel(), (np.repeat(np.arange(products), found.shape[1]), found.ravel())), shape=shape
    )
    left, values, right = svds(matrix.astype(np.float64), k=min(width, products - 1), rng=0)
    root, pad = np.sqrt(np.maximum(values, 1e-6)), ((0, 0), (0, width - len(values)))
    asked, answers = (np.pad(side * root, pad).astype(np.float32) for side in (left, right.T))  # pyright: ignore[reportOptionalMemberAccess, reportOptionalOperand]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :NEAR]
    near = np.take_along_axis(found, best, 1)
    said = np.einsum("nd,nkd->nk", asked, answers[near])
    return Begin(asked, answers, near, (_SHARP * (np.take_along_axis(scores, best, 1) - said)).astype(np.float32))
