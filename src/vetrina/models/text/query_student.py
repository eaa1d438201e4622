"""A student of the encoder of queries: one vector a token and a cheap layer of attention, taught what the encoder says.

A query is a handful of words, so what a transformer of six layers makes of it is nearly the sum of what its tokens mean. Token
vectors begin as the teacher's own vectors of single tokens, in the directions in which its vectors differ most. The loss is

1 - cos(s, t) + KL(softmax(t . d / TEMPERATURE) || softmax(s . d / TEMPERATURE))

for student s and teacher t of a text, over the texts d that the teacher takes for nearest to any text of a batch and others by
chance (ranking distillation over a teacher's candidates; Hofstätter et al. 2021, "Efficiently teaching an effective dense
retriever with balanced topic aware sampling", with listwise KL in place of margins). Products keep the teacher's vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats, TrainingPlan
from vetrina.layers.batches import BATCH_SIZE, length_bucketed_batches, linear_schedule_with_warmup
from vetrina.layers.losses import listwise_kl
from vetrina.layers.onnx_export import export
from vetrina.models.text.cross_encoder import nearest_texts

EMBEDDING_DIM = 256
TEMPERATURE = 0.05
N_NEAREST_TEXTS = 8
N_RANDOM_TEXTS = 1_000
_QUERY_DIM = 32
_VALUE_DIM = 64
_FEED_FORWARD_DIM = 128
_MAX_TOKENS = 64
LEARNING_RATE = 2e-3


class QueryStudent(nn.Module):
    """Token ids and their mask (batch, length) to unit vectors (batch, axes' columns).

    ``tokens`` (tokens, width) are the vectors that it begins with, ``axes`` (outputs, width) orthonormal directions.
    """

    def __init__(self, token_vectors: Floats, axes: Floats) -> None:
        super().__init__()
        width = token_vectors.shape[1]
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(token_vectors), freeze=False, sparse=True)
        self.position = nn.Parameter(torch.randn(_MAX_TOKENS, width) * 0.01)
        self.layer = StudentLayer(width)
        self.pooling_layer = nn.Linear(width, 1)
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.pooling_layer.weight)
        nn.init.zeros_(self.pooling_layer.bias)
        self.register_buffer("axes", torch.from_numpy(axes))

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """As the teacher's encoder."""
        return self.expand(self.encode_reduced(self.embedding(tokens_BL), mask_BL))

    def expand(self, reduced_BD: Tensor) -> Tensor:
        """Unit vectors (batch, outputs) of what ``within`` gives."""
        return F.normalize(reduced_BD @ self.axes.T, dim=-1)  # pyright: ignore[reportOperatorIssue, reportCallIssue]

    def encode_reduced(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """(batch, width): the weighted sum over tokens of what attention makes of their vectors."""
        hidden_BL = mask_BL == 0
        x_BLD = self.layer(x_BLD, self.position[: x_BLD.shape[1]], hidden_BL)
        weight_BL1 = torch.exp(self.pooling_layer(x_BLD)).masked_fill(hidden_BL[..., None], 0.0)
        return (x_BLD * weight_BL1).sum(1) + self.bias


class StudentLayer(nn.Module):
    """Attention of few columns and a narrow feed-forward part, both nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 2 * _QUERY_DIM + _VALUE_DIM)
        self.attention_out = nn.Linear(_VALUE_DIM, width)
        self.feed_forward_in = nn.Linear(width, _FEED_FORWARD_DIM)
        self.feed_forward_out = nn.Linear(_FEED_FORWARD_DIM, width)
        for last in (self.attention_out, self.feed_forward_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x_BLD: Tensor, position_LD: Tensor, masked_BL: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        q_BLK, k_BLK, v_BLV = self.qkv(self.attention_norm(x_BLD + position_LD)).split(
            (_QUERY_DIM, _QUERY_DIM, _VALUE_DIM), dim=2
        )
        logits_BLL = (q_BLK @ k_BLK.transpose(1, 2) / _QUERY_DIM**0.5).masked_fill(masked_BL[:, None], -1e9)
        x_BLD = x_BLD + self.attention_out(logits_BLL.softmax(-1) @ v_BLV)
        return x_BLD + self.feed_forward_out(F.gelu(self.feed_forward_in(self.feed_forward_norm(x_BLD))))


@dataclass(frozen=True)
class QueryDistillationData:
    """``tokens`` and ``mask`` (texts, length), what the teacher says of them (texts, outputs), and products' texts
    ``documents`` (n, outputs)."""

    tokens: NDArray[np.int64]
    mask: NDArray[np.int64]
    teacher_vectors: Floats
    document_vectors: Floats


def distil_encoder(
    token_vectors: Floats,
    axes: Floats,
    data: QueryDistillationData,
    epochs: int,
    plan: TrainingPlan,
    advance: Callable[[float], None],
) -> QueryStudent:
    """From token vectors ``begin`` (tokens, width) in directions ``axes`` (outputs, width)."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    student = QueryStudent(token_vectors, axes)
    inside = torch.from_numpy(data.document_vectors @ axes)
    target = F.normalize(torch.from_numpy(data.teacher_vectors @ axes), dim=1)
    near = nearest_texts(data.teacher_vectors, data.document_vectors, N_NEAREST_TEXTS)
    slow = [parameter for name, parameter in student.named_parameters() if name != "embedding.weight"]
    optimisers = (
        torch.optim.SparseAdam([student.embedding.weight], LEARNING_RATE),
        torch.optim.Adam(slow, LEARNING_RATE),
    )
    lengths = data.mask.sum(1)
    batches = -(-len(lengths) // BATCH_SIZE)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, linear_schedule_with_warmup(epochs * batches)) for o in optimisers
    ]
    student.train()
    for _ in range(epochs):
        for rows in length_bucketed_batches(lengths, rng):
            drawn = rng.integers(0, len(inside), min(N_RANDOM_TEXTS, len(inside)))
            shown = np.union1d(near[rows].ravel(), drawn)
            longest = int(lengths[rows].max())
            tokens_BL, mask_BL = (torch.from_numpy(part[rows, :longest]) for part in (data.tokens, data.mask))
            said_BD = F.normalize(student.encode_reduced(student.embedding(tokens_BL), mask_BL), dim=1)
            told_BT = torch.from_numpy(data.teacher_vectors[rows] @ data.document_vectors[shown].T)
            loss = 1 - (said_BD * target[torch.from_numpy(rows)]).sum(1).mean()
            loss = loss + listwise_kl(said_BD @ inside[torch.from_numpy(shown)].T / TEMPERATURE, told_BT / TEMPERATURE)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for part in (*optimisers, *schedules):
                part.step()
            advance(1 / batches)
    return student.eval()


def principal_axes(vectors: Floats, width: int) -> Floats:
    """(outputs, width): the directions in which vectors (n, outputs) lie most, the largest first."""
    _, found = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(found[:, ::-1][:, :width]).astype(np.float32)


def export_student(student: QueryStudent, path: Path) -> None:
    """ONNX as the teacher's: ``tokens`` and ``mask`` (batch, length) to ``vector`` (batch, outputs). The table is int8 by row."""
    tokens = torch.ones(2, 7, dtype=torch.int64)
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(
        Int8QueryStudent(student).eval(), (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, path
    )


class Int8QueryStudent(nn.Module):
    """A student whose token vectors are whole numbers with one scale a token."""

    def __init__(self, student: QueryStudent) -> None:
        super().__init__()
        table = student.embedding.weight.detach()
        scales = table.abs().amax(1).clamp(min=1e-8) / 127.0
        self.student = student
        self.register_buffer("table", torch.round(table / scales[:, None]).to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """As the student's."""
        x_BLD = self.table[tokens_BL].float() * self.scales[tokens_BL, None]  # pyright: ignore[reportIndexIssue]
        return self.student.expand(self.student.encode_reduced(x_BLD, mask_BL))
