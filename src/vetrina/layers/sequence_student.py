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
from vetrina.layers.distillation import TeacherScores
from vetrina.retrieval.sequence_scorer import N_GAP_CLASSES

NEIGHBOURS = 32
_QUERY_DIM = 32
_VALUE_DIM = 64
_POSITION_DECAY = 0.3
_INITIAL_LOGIT_SCALE = 20.0
_MASKED_LOGIT = -1e9


@dataclass(frozen=True)
class SequenceRequests:
    """``items`` (n, length) numbers of the last products, the newest first, -1 where there is none; ``gaps`` (n, length) as
    ``retrieval.sequence_scorer.gaps`` gives them."""

    items: NDArray[np.int64]
    gaps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Of all requests."""
        return self.items, self.gaps

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Items and gaps."""
        longest = max(1, int((self.items[rows] >= 0).sum(1).max()))
        return self.items[rows, :longest], self.gaps[rows, :longest]


@dataclass(frozen=True)
class InitialEmbeddings:
    """What a student begins with: ``asked`` and ``answers`` (products, width), and beside them what the teacher says after each
    product alone and they do not: ``near`` (products, k) products and ``more`` (products, k) of their logits."""

    input_vectors: Floats
    output_vectors: Floats
    neighbours: Ints
    neighbour_boosts: Floats


class SequenceStudent(nn.Module):
    """Items and gaps as ``Sequences`` has them (batch, length) to logits of all products (batch, products).

    Attention and pooling look along the products; each product also lifts a few others directly, for what vectors
    of so few columns cannot say of single products. An empty history is answered by what is liked anyway.
    """

    # of a product beside its two vectors, and others that it lifts
    INPUTS = ("items", "gaps")
    EXTRA_COLUMNS = 0
    BOOSTED_NEIGHBOURS = NEIGHBOURS

    def __init__(self, initial: InitialEmbeddings, length: int) -> None:
        super().__init__()
        width = initial.input_vectors.shape[1]
        self.input_embedding = nn.Embedding.from_pretrained(
            torch.from_numpy(initial.input_vectors.copy()), freeze=False
        )
        self.output_layer = nn.Linear(width, len(initial.output_vectors))
        self.output_layer.weight.data = torch.from_numpy(initial.output_vectors.copy())
        self.logit_scale = nn.Parameter(
            torch.tensor(_INITIAL_LOGIT_SCALE)
        )  # apart from the vectors, which may then learn in small steps
        nn.init.zeros_(self.output_layer.bias)
        self.gap_embedding = nn.Embedding(N_GAP_CLASSES, width)
        self.position_embedding = nn.Parameter(torch.zeros(length, width))
        self.position_weight = nn.Parameter(-_POSITION_DECAY * torch.arange(length).float())
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 2 * _QUERY_DIM + _VALUE_DIM)
        self.attention_out = nn.Linear(_VALUE_DIM, width)
        self.pooling_layer = nn.Linear(width, 1)
        self.feed_forward_in = nn.Linear(width, width)
        self.feed_forward_out = nn.Linear(width, width)
        self.register_buffer("near", torch.from_numpy(initial.neighbours.astype(np.int32)))
        self.neighbour_boosts = nn.Embedding.from_pretrained(
            torch.from_numpy(initial.neighbour_boosts.copy()), freeze=False
        )
        self.boost_position_weight = nn.Parameter(self.position_weight.detach().clone())
        self.boost_gap_weight = nn.Embedding(N_GAP_CLASSES, 1)
        for nothing in (
            self.gap_embedding,
            self.boost_gap_weight,
            self.pooling_layer,
            self.attention_out,
            self.feed_forward_out,
        ):
            for parameter in nothing.parameters():
                nn.init.zeros_(parameter)

    def forward(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Logits of all products."""
        logits_BT, at_BN, by_BN = self.logits_and_boosts(items_BL, gaps_BL)
        return logits_BT.scatter_add(1, at_BN, by_BN)

    def logits_and_boosts(self, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all products without lifts, which products are lifted (batch, lifts), and by how much."""
        own_BL = items_BL.clamp(min=0)
        logits_BT = self.output_layer(self.user_vector(self.input_embedding(own_BL), items_BL, gaps_BL))
        lift_BLK = self.neighbour_boosts(own_BL) * self.boost_weights(items_BL, gaps_BL)[:, :, None]
        return logits_BT, self.near[own_BL].flatten(1).long(), lift_BLK.flatten(1)  # pyright: ignore[reportIndexIssue]

    def boost_weights(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, length) how much each product's own lifts count; of a history they sum to 1."""
        there_BL = (items_BL >= 0).to(self.boost_position_weight.dtype)
        known_BL = self.boost_gap_weight(gaps_BL)[:, :, 0] + self.boost_position_weight[: items_BL.shape[1]]
        share_BL = torch.exp(known_BL.clamp(max=20.0)) * there_BL
        return share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)

    def user_vector(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, width) of the products' vectors."""
        length = items_BL.shape[1]
        there_BL = (items_BL >= 0).to(x_BLD.dtype)
        known_BLD = self.attention_norm(x_BLD) + self.position_embedding[:length] + self.gap_embedding(gaps_BL)
        q_BLK, k_BLK, v_BLV = self.qkv(known_BLD).split((_QUERY_DIM, _QUERY_DIM, _VALUE_DIM), dim=2)
        away_BL = (1.0 - there_BL) * _MASKED_LOGIT
        mixed_BLL = torch.softmax(q_BLK @ k_BLK.transpose(1, 2) / _QUERY_DIM**0.5 + away_BL[:, None], dim=-1)
        x_BLD = x_BLD + self.attention_out(mixed_BLL @ v_BLV)
        share_BL = (
            torch.exp((self.pooling_layer(known_BLD)[:, :, 0] + self.position_weight[:length]).clamp(max=20.0))
            * there_BL
        )
        share_BL = share_BL / share_BL.sum(1, keepdim=True).clamp(min=1e-9)
        u_BD = (x_BLD * share_BL[:, :, None]).sum(1)
        return self.logit_scale * (
            u_BD + self.feed_forward_out(F.gelu(self.feed_forward_in(self.feed_forward_norm(u_BD))))
        )


def initial_embeddings(
    teacher_scores: TeacherScores, n_items: int, width: int, single_item_rows: NDArray[np.intp]
) -> InitialEmbeddings:
    """Singular vectors of the teacher's answers after each single product, and where they are off for its best NEAR.

    ``alone`` (products,) are the rows of ``told`` that are about one product each.
    """
    found = teacher_scores.items[single_item_rows]
    scores = teacher_scores.normalised_scores(single_item_rows)
    shape = (n_items, n_items)
    matrix = sparse.csr_array(
        (scores.ravel(), (np.repeat(np.arange(n_items), found.shape[1]), found.ravel())), shape=shape
    )
    left, values, right = svds(matrix.astype(np.float64), k=min(width, n_items - 1), rng=0)
    root = np.sqrt(np.maximum(values, 1e-6))
    pad = ((0, 0), (0, width - len(values)))
    asked, answers = (np.pad(side * root, pad).astype(np.float32) for side in (left, right.T))  # pyright: ignore[reportOptionalMemberAccess, reportOptionalOperand]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
    near = np.take_along_axis(found, best, 1)
    said = np.einsum("nd,nkd->nk", asked, answers[near])
    return InitialEmbeddings(
        asked, answers, near, (_INITIAL_LOGIT_SCALE * (np.take_along_axis(scores, best, 1) - said)).astype(np.float32)
    )
