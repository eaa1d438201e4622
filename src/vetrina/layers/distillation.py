"""Teaches a student what a teacher says of requests. Knows neither what a request is made of nor what a student looks like.

For the teacher's scores t of all products at a request, and the student's logits s, the loss is listwise:

KL(softmax(t / (TEMPERATURE max t)) || softmax(s))

over the teacher's TOP products against all others, the student's own mistakes and any that chance would draw among
them. Training side only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vetrina.core.types import Floats, Ints, TrainingPlan
from vetrina.layers.batches import BATCH_SIZE, length_bucketed_batches, linear_schedule_with_warmup

TEACHER_TOP_K = 100
TEMPERATURE = 0.08
_LEARNING_RATE = 2e-3
_EXCLUDED_LOGIT = -30.0


class DistillationRequests(Protocol):
    """Requests: ``items`` (n, length) are the numbers of a user's own products, -1 where there is none.

    ``arrays`` are all that a student is given, ``items`` first.
    """

    @property
    def items(self) -> NDArray[np.int64]: ...

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]: ...

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """``arrays`` at these, as long as the longest of them needs."""
        ...


@dataclass(frozen=True)
class TeacherScores:
    """The teacher's best products (n, TOP) of each request with their scores; ``own`` is false where it leaves out a user's own
    products."""

    items: Ints
    scores: Floats
    includes_seen: bool

    def concatenate(self, others: "TeacherScores") -> "TeacherScores":
        """These, and others of the same teacher after them."""
        items = np.concatenate([self.items, others.items])
        return TeacherScores(items, np.concatenate([self.scores, others.scores]), self.includes_seen)

    def normalised_scores(self, rows: NDArray[np.intp]) -> Floats:
        """Scores with a largest one of 1."""
        scores = self.scores[rows]
        return (scores / np.maximum(scores.max(1, keepdims=True), 1e-9)).astype(np.float32)


def distil(
    student: nn.Module,
    requests: DistillationRequests,
    teacher_scores: TeacherScores,
    epochs: int,
    plan: TrainingPlan,
    advance: Callable[[float], None],
    batch_size: int = BATCH_SIZE,
) -> None:
    """Adam over ``epochs`` in batches of ``size``; ``advance`` is called with the share of an epoch."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    optimiser = torch.optim.Adam(student.parameters(), _LEARNING_RATE)
    lengths = (requests.items >= 0).sum(1)
    batches = -(-len(requests) // batch_size)
    steps = epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, linear_schedule_with_warmup(steps))
    student.train()
    for _ in range(epochs):
        for rows in length_bucketed_batches(lengths, rng, batch_size):
            optimiser.zero_grad(set_to_none=True)
            _loss(student, requests, teacher_scores, rows).backward()
            optimiser.step()
            schedule.step()
            advance(1 / batches)
    student.eval()


def _loss(student: nn.Module, requests: DistillationRequests, told: TeacherScores, rows: NDArray[np.intp]) -> Tensor:
    given = requests.batch(rows)
    logits_BT = student(*map(torch.from_numpy, given))
    if not told.includes_seen:
        own = requests.items[rows, : given[0].shape[1]]
        row, place = np.nonzero(own >= 0)
        left_out = torch.from_numpy(row), torch.from_numpy(own[row, place])
        logits_BT = logits_BT.index_put(left_out, torch.tensor(_EXCLUDED_LOGIT))
    share_BK = torch.softmax(torch.from_numpy(told.normalised_scores(rows) / TEMPERATURE), 1)
    said_BK = torch.log_softmax(logits_BT, 1).gather(1, torch.from_numpy(told.items[rows].astype(np.int64)))
    return (share_BK * (share_BK.clamp(min=1e-12).log() - said_BK)).sum(1).mean()
