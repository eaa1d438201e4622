"""Student of the query encoder: token embeddings and one small attention layer, distilled from the encoder.

A query is a handful of words, so the output of a transformer of six layers is nearly the sum of what its tokens mean.
Token embeddings are initialised from the teacher's own vectors of single tokens, along the principal axes of its
vectors. The loss is

1 - cos(s, t) + KL(softmax(t . d / TEMPERATURE) || softmax(s . d / TEMPERATURE))

for student s and teacher t of a text, over the texts d that the teacher ranks nearest to any text of a batch and a
random sample of others (ranking distillation over a teacher's candidates; Hofstätter et al. 2021, "Efficiently teaching
an effective dense retriever with balanced topic aware sampling", with listwise KL in place of margins). Products keep
the teacher's vectors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.arrays import Floats, Ints
from vetrina.core.training_plan import TrainingPlan
from vetrina.models.text.cross_encoder import nearest_texts
from vetrina.nn.batches import BATCH_SIZE, length_bucketed_batches, linear_schedule_with_warmup
from vetrina.nn.losses import listwise_kl
from vetrina.nn.onnx_export import export

EMBEDDING_DIM = 256
TEMPERATURE = 0.05
N_NEAREST_TEXTS = 8  # product texts nearest to each text of a batch
N_RANDOM_TEXTS = 1_000  # other product texts in the softmax of a batch
LEARNING_RATE = 2e-3
_QUERY_DIM = 32  # of attention's queries and keys
_VALUE_DIM = 64  # of attention's values
_FEED_FORWARD_DIM = 128
_MAX_TOKENS = 64
_POSITION_STD = 0.01  # of the initial position embeddings
_MASKED_LOGIT = -1e9  # attention to padding
_INT8_MAX = 127.0


class QueryStudent(nn.Module):
    """Token ids and their mask (batch, length) to unit vectors (batch, outputs).

    Args:
        token_vectors: Initial token embeddings (tokens, width).
        axes: Orthonormal directions (outputs, width) that map the student's space to the teacher's.
    """

    def __init__(self, token_vectors: Floats, axes: Floats) -> None:
        super().__init__()
        width = token_vectors.shape[1]
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(token_vectors), freeze=False, sparse=True)
        self.position = nn.Parameter(torch.randn(_MAX_TOKENS, width) * _POSITION_STD)
        self.layer = StudentLayer(width)
        self.pooling_layer = nn.Linear(width, 1)
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.pooling_layer.weight)
        nn.init.zeros_(self.pooling_layer.bias)
        self.register_buffer("axes", torch.from_numpy(axes))

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Unit vectors (batch, outputs), with the inputs of the teacher's encoder."""
        return self.expand(self.encode_reduced(self.embedding(tokens_BL), mask_BL))

    def expand(self, reduced_BD: Tensor) -> Tensor:
        """Unit vectors (batch, outputs) from the output of ``encode_reduced``."""
        return F.normalize(reduced_BD @ self.axes.T, dim=-1)  # pyright: ignore[reportOperatorIssue, reportCallIssue]

    def encode_reduced(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Weighted sum (batch, width) of the attention layer's outputs for token embeddings (batch, length, width)."""
        is_padding_BL = mask_BL == 0
        x_BLD = self.layer(x_BLD, self.position[: x_BLD.shape[1]], is_padding_BL)
        weight_BL1 = torch.exp(self.pooling_layer(x_BLD)).masked_fill(is_padding_BL[..., None], 0.0)
        return (x_BLD * weight_BL1).sum(1) + self.bias


class StudentLayer(nn.Module):
    """Narrow self-attention and a narrow feed-forward layer, both residual and zero at initialisation."""

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

    def forward(self, x_BLD: Tensor, position_LD: Tensor, is_padding_BL: Tensor) -> Tensor:
        """Token vectors after attention and feed-forward.

        Args:
            x_BLD: Token vectors (batch, length, width).
            position_LD: Position embeddings (length, width).
            is_padding_BL: Where there is no token (batch, length).

        Returns:
            (batch, length, width).
        """
        qkv_BLE = self.qkv(self.attention_norm(x_BLD + position_LD))
        q_BLK, k_BLK, v_BLV = qkv_BLE.split((_QUERY_DIM, _QUERY_DIM, _VALUE_DIM), dim=2)
        logits_BLL = q_BLK @ k_BLK.transpose(1, 2) / _QUERY_DIM**0.5
        logits_BLL = logits_BLL.masked_fill(is_padding_BL[:, None], _MASKED_LOGIT)
        x_BLD = x_BLD + self.attention_out(logits_BLL.softmax(-1) @ v_BLV)
        hidden_BLH = F.gelu(self.feed_forward_in(self.feed_forward_norm(x_BLD)))
        return x_BLD + self.feed_forward_out(hidden_BLH)


@dataclass(frozen=True)
class QueryDistillationData:
    """Distillation data: texts with the teacher's vectors of them, and the product texts to rank.

    ``tokens`` and ``mask`` (texts, length), ``teacher_vectors`` (texts, outputs), ``document_vectors`` (n, outputs).
    """

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
    """A student trained to reproduce the teacher's vectors and its ranking of product texts.

    Args:
        token_vectors: Initial token embeddings (tokens, width).
        axes: Orthonormal directions (outputs, width).
        data: Texts and the teacher's vectors.
        epochs: Passes over the texts.
        plan: Seed and threads.
        advance: Called after each batch with its share of an epoch.

    Returns:
        The student in evaluation mode.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    student = QueryStudent(token_vectors, axes)
    loss_function = _DistillationLoss(data, axes)
    dense_parameters = [parameter for name, parameter in student.named_parameters() if name != "embedding.weight"]
    optimisers = (
        torch.optim.SparseAdam([student.embedding.weight], LEARNING_RATE),
        torch.optim.Adam(dense_parameters, LEARNING_RATE),
    )
    lengths = data.mask.sum(1)
    n_batches = math.ceil(len(lengths) / BATCH_SIZE)
    schedule = linear_schedule_with_warmup(epochs * n_batches)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(optimiser, schedule) for optimiser in optimisers]
    student.train()
    for _ in range(epochs):
        for rows in length_bucketed_batches(lengths, rng):
            candidates = loss_function.sample_candidates(rows, rng)
            max_length = int(lengths[rows].max())
            tokens_BL = torch.from_numpy(data.tokens[rows, :max_length])
            mask_BL = torch.from_numpy(data.mask[rows, :max_length])
            reduced_BD = student.encode_reduced(student.embedding(tokens_BL), mask_BL)
            loss = loss_function(F.normalize(reduced_BD, dim=1), rows, candidates)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for part in (*optimisers, *schedulers):
                part.step()
            advance(1 / n_batches)
    return student.eval()


class _DistillationLoss:
    """The loss of the module's docstring, computed along the axes, that is in the student's reduced space."""

    def __init__(self, data: QueryDistillationData, axes: Floats) -> None:
        self._teacher_vectors = data.teacher_vectors
        self._document_vectors = data.document_vectors
        self._reduced_documents = torch.from_numpy(data.document_vectors @ axes)
        self._reduced_teacher = F.normalize(torch.from_numpy(data.teacher_vectors @ axes), dim=1)
        self._nearest_texts = nearest_texts(data.teacher_vectors, data.document_vectors, N_NEAREST_TEXTS)

    def sample_candidates(self, rows: NDArray[np.intp], rng: np.random.Generator) -> Ints:
        """Product texts (candidates,): those nearest to a batch's texts, and random ones."""
        n_documents = len(self._document_vectors)
        random_texts = rng.integers(0, n_documents, min(N_RANDOM_TEXTS, n_documents))
        return np.union1d(self._nearest_texts[rows].ravel(), random_texts)

    def __call__(self, student_BD: Tensor, rows: NDArray[np.intp], candidates: Ints) -> Tensor:
        """Loss of the student's unit vectors (batch, width) for the texts ``rows``."""
        teacher_logits_BT = torch.from_numpy(self._teacher_vectors[rows] @ self._document_vectors[candidates].T)
        student_logits_BT = student_BD @ self._reduced_documents[torch.from_numpy(candidates)].T
        cosine_B = (student_BD * self._reduced_teacher[torch.from_numpy(rows)]).sum(1)
        loss = 1 - cosine_B.mean()
        return loss + listwise_kl(student_logits_BT / TEMPERATURE, teacher_logits_BT / TEMPERATURE)


def principal_axes(vectors: Floats, width: int) -> Floats:
    """Directions (outputs, width) of the largest second moments of vectors (n, outputs), the largest first."""
    _, eigenvectors = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    largest_first = eigenvectors[:, ::-1]
    return np.ascontiguousarray(largest_first[:, :width]).astype(np.float32)


def export_student(student: QueryStudent, path: Path) -> None:
    """Writes ONNX with the inputs and the output of the teacher.

    ``tokens`` and ``mask`` (batch, length) to ``vector`` (batch, outputs). The token embeddings are int8
    with one scale a token.
    """
    tokens = torch.ones(2, 7, dtype=torch.int64)
    example = (tokens, torch.ones_like(tokens))
    dynamic_axes = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(Int8QueryStudent(student).eval(), example, ("tokens", "mask"), ("vector",), dynamic_axes, path)


class Int8QueryStudent(nn.Module):
    """A student whose token embeddings are int8 with one scale a token."""

    def __init__(self, student: QueryStudent) -> None:
        super().__init__()
        table = student.embedding.weight.detach()
        scales = table.abs().amax(1).clamp(min=1e-8) / _INT8_MAX
        self.student = student
        self.register_buffer("table", torch.round(table / scales[:, None]).to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Unit vectors (batch, outputs)."""
        x_BLD = self.table[tokens_BL].float() * self.scales[tokens_BL, None]  # pyright: ignore[reportIndexIssue]
        return self.student.expand(self.student.encode_reduced(x_BLD, mask_BL))
