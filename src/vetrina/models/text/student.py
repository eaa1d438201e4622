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

from vetrina.core.types import Floats, Plan
from vetrina.layers.batches import SIZE, falling, of_like_length
from vetrina.layers.losses import listwise_kl
from vetrina.layers.onnx_export import export
from vetrina.models.text.teacher import nearest

WIDTH, TEMPERATURE, NEAR, BY_CHANCE = 256, 0.05, 8, 1_000
_ASKED, _SEEN, _WIDE, _LONGEST = 32, 64, 128, 64
RATE = 2e-3


class Student(nn.Module):
    """Token ids and their mask (batch, length) to unit vectors (batch, axes' columns).

    ``tokens`` (tokens, width) are the vectors that it begins with, ``axes`` (outputs, width) orthonormal directions.
    """

    def __init__(self, tokens: Floats, axes: Floats) -> None:
        super().__init__()
        width = tokens.shape[1]
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(tokens), freeze=False, sparse=True)
        self.position = nn.Parameter(torch.randn(_LONGEST, width) * 0.01)
        self.layer = Layer(width)
        self.weight, self.bias = nn.Linear(width, 1), nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.register_buffer("axes", torch.from_numpy(axes))

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """As the teacher's encoder."""
        return self.outside(self.within(self.embedding(tokens_BL), mask_BL))

    def outside(self, said_BD: Tensor) -> Tensor:
        """Unit vectors (batch, outputs) of what ``within`` gives."""
        return F.normalize(said_BD @ self.axes.T, dim=-1)  # pyright: ignore[reportOperatorIssue, reportCallIssue]

    def within(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """(batch, width): the weighted sum over tokens of what attention makes of their vectors."""
        hidden_BL = mask_BL == 0
        x_BLD = self.layer(x_BLD, self.position[: x_BLD.shape[1]], hidden_BL)
        weight_BL1 = torch.exp(self.weight(x_BLD)).masked_fill(hidden_BL[..., None], 0.0)
        return (x_BLD * weight_BL1).sum(1) + self.bias


class Layer(nn.Module):
    """Attention of few columns and a narrow feed-forward part, both nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.seen = nn.Linear(width, 2 * _ASKED + _SEEN)
        self.out, self.wide, self.narrow = nn.Linear(_SEEN, width), nn.Linear(width, _WIDE), nn.Linear(_WIDE, width)
        for last in (self.out, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x_BLD: Tensor, at_LD: Tensor, hidden_BL: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        q_BLK, k_BLK, v_BLV = self.seen(self.before(x_BLD + at_LD)).split((_ASKED, _ASKED, _SEEN), dim=2)
        logits_BLL = (q_BLK @ k_BLK.transpose(1, 2) / _ASKED**0.5).masked_fill(hidden_BL[:, None], -1e9)
        x_BLD = x_BLD + self.out(logits_BLL.softmax(-1) @ v_BLV)
        return x_BLD + self.narrow(F.gelu(self.wide(self.between(x_BLD))))


@dataclass(frozen=True)
class Lessons:
    """``tokens`` and ``mask`` (texts, length), what the teacher says of them (texts, outputs), and products' texts
    ``documents`` (n, outputs)."""

    tokens: NDArray[np.int64]
    mask: NDArray[np.int64]
    vectors: Floats
    documents: Floats


def taught(
    begin: Floats, axes: Floats, lessons: Lessons, epochs: int, plan: Plan, advance: Callable[[float], None]
) -> Student:
    """From token vectors ``begin`` (tokens, width) in directions ``axes`` (outputs, width)."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng, student = np.random.default_rng(plan.seed), Student(begin, axes)
    inside = torch.from_numpy(lessons.documents @ axes)
    target = F.normalize(torch.from_numpy(lessons.vectors @ axes), dim=1)
    near = nearest(lessons.vectors, lessons.documents, NEAR)
    slow = [parameter for name, parameter in student.named_parameters() if name != "embedding.weight"]
    optimisers = torch.optim.SparseAdam([student.embedding.weight], RATE), torch.optim.Adam(slow, RATE)
    lengths = lessons.mask.sum(1)
    batches = -(-len(lengths) // SIZE)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, falling(epochs * batches)) for o in optimisers]
    student.train()
    for _ in range(epochs):
        for rows in of_like_length(lengths, rng):
            drawn = rng.integers(0, len(inside), min(BY_CHANCE, len(inside)))
            shown = np.union1d(near[rows].ravel(), drawn)
            longest = int(lengths[rows].max())
            tokens_BL, mask_BL = (torch.from_numpy(part[rows, :longest]) for part in (lessons.tokens, lessons.mask))
            said_BD = F.normalize(student.within(student.embedding(tokens_BL), mask_BL), dim=1)
            told_BT = torch.from_numpy(lessons.vectors[rows] @ lessons.documents[shown].T)
            loss = 1 - (said_BD * target[torch.from_numpy(rows)]).sum(1).mean()
            loss = loss + listwise_kl(said_BD @ inside[torch.from_numpy(shown)].T / TEMPERATURE, told_BT / TEMPERATURE)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for part in (*optimisers, *schedules):
                part.step()
            advance(1 / batches)
    return student.eval()


def axes_of(vectors: Floats, width: int) -> Floats:
    """(outputs, width): the directions in which vectors (n, outputs) lie most, the largest first."""
    _, found = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(found[:, ::-1][:, :width]).astype(np.float32)


def write(student: Student, path: Path) -> None:
    """ONNX as the teacher's: ``tokens`` and ``mask`` (batch, length) to ``vector`` (batch, outputs). The table is int8 by row."""
    tokens = torch.ones(2, 7, dtype=torch.int64)
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(Small(student).eval(), (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, path)


class Small(nn.Module):
    """A student whose token vectors are whole numbers with one scale a token."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        table = student.embedding.weight.detach()
        scales = table.abs().amax(1).clamp(min=1e-8) / 127.0
        self.student = student
        self.register_buffer("table", torch.round(table / scales[:, None]).to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """As the student's."""
        x_BLD = self.table[tokens_BL].float() * self.scales[tokens_BL, None]  # pyright: ignore[reportIndexIssue]
        return self.student.outside(self.student.within(x_BLD, mask_BL))
