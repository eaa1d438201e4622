"""Student network on a user's last items: attention, pooling and direct item-to-item boosts. Training side only.

One small network in place of a whole blend. Item vectors are initialised from the singular vectors of the teacher's answers
after each item alone, so that the student is at first the best linear map of its rank.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.bundle.sequence_scorer.read import N_GAP_CLASSES
from vetrina.core.arrays import Floats, Ints
from vetrina.edge.distillation import TeacherScores

NEIGHBOURS = 32  # other items that an item boosts
_QUERY_DIM = 32
_VALUE_DIM = 64
_POSITION_DECAY = 0.3
_INITIAL_LOGIT_SCALE = 20.0
_MASKED_LOGIT = -1e9
_MAX_POOLING_LOGIT = 20.0


@dataclass(frozen=True)
class SequenceRequests:
    """Requests of users with a history.

    Attributes:
        items: (n, length) numbers of the user's last items, newest first, -1 for padding.
        gaps: (n, length) classes of the time between them, see ``bundle.sequence_scorer.read.gap_classes``.
    """

    items: NDArray[np.int64]
    gaps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Items and gaps of all requests."""
        return self.items, self.gaps

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Return items and gaps of some requests, cut to the longest of them."""
        lengths = (self.items[rows] >= 0).sum(1)
        longest = max(1, int(lengths.max()))
        return self.items[rows, :longest], self.gaps[rows, :longest]


@dataclass(frozen=True)
class InitialEmbeddings:
    """Initial weights of a student.

    Attributes:
        input_vectors: (items, width) vector of an item in a history.
        output_vectors: (items, width) vector of an item as a candidate.
        neighbours: (items, NEIGHBOURS) the teacher's best items after each item alone.
        neighbour_boosts: (items, NEIGHBOURS) difference of the teacher's logits of them from those of the vectors.
    """

    input_vectors: Floats
    output_vectors: Floats
    neighbours: Ints
    neighbour_boosts: Floats


class SequenceStudent(nn.Module):
    """Network from items and gaps of ``SequenceRequests`` (batch, length) to logits of all items (batch, items).

    Attention and pooling combine the items of the history; each item also boosts a few others directly, for what vectors of
    few columns cannot express about single items. A cold user gets the bias.

    Args:
        initial: Initial vectors and boosts.
        length: Largest number of items in a history.
    """

    INPUTS = ("items", "gaps")
    EXTRA_COLUMNS = 0  # numbers of an item beside its two vectors
    BOOSTED_NEIGHBOURS = NEIGHBOURS  # other items that an item boosts

    def __init__(self, initial: InitialEmbeddings, length: int) -> None:
        super().__init__()
        n_items, width = initial.output_vectors.shape
        self.input_embedding = _trainable_embedding(initial.input_vectors)
        self.output_layer = nn.Linear(width, n_items)
        self.output_layer.weight.data = torch.from_numpy(initial.output_vectors.copy())
        # A scale apart from the vectors, which can then be trained in small steps.
        self.logit_scale = nn.Parameter(torch.tensor(_INITIAL_LOGIT_SCALE))
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
        self.neighbour_boosts = _trainable_embedding(initial.neighbour_boosts)
        self.boost_position_weight = nn.Parameter(self.position_weight.detach().clone())
        self.boost_gap_weight = nn.Embedding(N_GAP_CLASSES, 1)
        self._initialise_with_zeros()

    def _initialise_with_zeros(self) -> None:
        """Layers that add to a linear map: at first they add nothing."""
        zero_layers = (
            self.gap_embedding,
            self.boost_gap_weight,
            self.pooling_layer,
            self.attention_out,
            self.feed_forward_out,
        )
        for layer in zero_layers:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return logits of all items (batch, items)."""
        logits_BT, items_BN, boosts_BN = self.logits_and_boosts(items_BL, gaps_BL)
        return logits_BT.scatter_add(1, items_BN, boosts_BN)

    def logits_and_boosts(self, items_BL: Tensor, gaps_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of all items without boosts, the boosted items (batch, boosts), and their boosts."""
        rows_BL = items_BL.clamp(min=0)
        user_BD = self.user_vector(self.input_embedding(rows_BL), items_BL, gaps_BL)
        logits_BT = self.output_layer(user_BD)
        boosts_BLK = self.neighbour_boosts(rows_BL) * self.boost_weights(items_BL, gaps_BL)[:, :, None]
        neighbours_BN = self.near[rows_BL].flatten(1).long()  # pyright: ignore[reportIndexIssue]
        return logits_BT, neighbours_BN, boosts_BLK.flatten(1)

    def boost_weights(self, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return the weight of each item's boosts (batch, length); the weights of a history sum to 1."""
        mask_BL = (items_BL >= 0).to(self.boost_position_weight.dtype)
        logits_BL = self.boost_gap_weight(gaps_BL)[:, :, 0] + self.boost_position_weight[: items_BL.shape[1]]
        weight_BL = torch.exp(logits_BL.clamp(max=_MAX_POOLING_LOGIT)) * mask_BL
        return weight_BL / weight_BL.sum(1, keepdim=True).clamp(min=1e-9)

    def user_vector(self, x_BLD: Tensor, items_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return user vectors (batch, width).

        Args:
            x_BLD: (batch, length, width) vectors of the items of the history.
            items_BL: (batch, length) their numbers, -1 for padding.
            gaps_BL: (batch, length) their gap classes.
        """
        length = items_BL.shape[1]
        mask_BL = (items_BL >= 0).to(x_BLD.dtype)
        normed_BLD = self.attention_norm(x_BLD) + self.position_embedding[:length] + self.gap_embedding(gaps_BL)
        q_BLK, k_BLK, v_BLV = self.qkv(normed_BLD).split((_QUERY_DIM, _QUERY_DIM, _VALUE_DIM), dim=2)
        masked_BL = (1.0 - mask_BL) * _MASKED_LOGIT
        attention_BLL = q_BLK @ k_BLK.transpose(1, 2) / _QUERY_DIM**0.5 + masked_BL[:, None]
        attention_BLL = torch.softmax(attention_BLL, dim=-1)
        x_BLD = x_BLD + self.attention_out(attention_BLL @ v_BLV)
        pooling_BL = self.pooling_layer(normed_BLD)[:, :, 0] + self.position_weight[:length]
        weight_BL = torch.exp(pooling_BL.clamp(max=_MAX_POOLING_LOGIT)) * mask_BL
        weight_BL = weight_BL / weight_BL.sum(1, keepdim=True).clamp(min=1e-9)
        user_BD = (x_BLD * weight_BL[:, :, None]).sum(1)
        hidden_BD = F.gelu(self.feed_forward_in(self.feed_forward_norm(user_BD)))
        return self.logit_scale * (user_BD + self.feed_forward_out(hidden_BD))


def _trainable_embedding(vectors: Floats) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.from_numpy(vectors.copy()), freeze=False)


def initial_embeddings(
    teacher_scores: TeacherScores, n_items: int, width: int, single_item_rows: NDArray[np.intp]
) -> InitialEmbeddings:
    """Return the truncated SVD of the teacher's answers after each single item, and its residuals for the best items.

    Args:
        teacher_scores: The teacher's scores of all requests.
        n_items: Number of items.
        width: Dimension of the item vectors.
        single_item_rows: (items,) rows of ``teacher_scores`` of the requests with one item each, in the order of items.
    """
    teacher_items = teacher_scores.items[single_item_rows]
    scores = teacher_scores.normalised_scores(single_item_rows)
    row = np.repeat(np.arange(n_items), teacher_items.shape[1])
    matrix = sparse.csr_array((scores.ravel(), (row, teacher_items.ravel())), shape=(n_items, n_items))
    left, values, right = svds(matrix.astype(np.float64), k=min(width, n_items - 1), rng=0)
    root = np.sqrt(np.maximum(values, 1e-6))
    padding = ((0, 0), (0, width - len(values)))
    input_vectors = np.pad(left * root, padding).astype(np.float32)  # pyright: ignore[reportOptionalOperand]
    output_vectors = np.pad(right.T * root, padding).astype(np.float32)  # pyright: ignore[reportOptionalMemberAccess]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
    neighbours = np.take_along_axis(teacher_items, best, 1)
    neighbour_scores = np.take_along_axis(scores, best, 1)
    linear_scores = np.einsum("nd,nkd->nk", input_vectors, output_vectors[neighbours])
    boosts = _INITIAL_LOGIT_SCALE * (neighbour_scores - linear_scores)
    return InitialEmbeddings(input_vectors, output_vectors, neighbours, boosts.astype(np.float32))
