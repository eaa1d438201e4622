"""Knowledge distillation: a student learns a teacher's item scores by listwise KL (Hinton et al. 2015).

For the teacher's scores t of all items at a request, and the student's logits s, the loss is

KL(softmax(t / (TEMPERATURE max t)) || softmax(s))

over the teacher's TEACHER_TOP_K items; the student's softmax is over all items, so its own mistakes count. Knows neither what
a request consists of nor what a student looks like. Training side only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vetrina.core.arrays import Floats, Ints
from vetrina.core.training_plan import TrainingPlan
from vetrina.nn.batches import BATCH_SIZE, length_bucketed_batches, linear_schedule_with_warmup

TEACHER_TOP_K = 100
TEMPERATURE = 0.08
_LEARNING_RATE = 2e-3
_EXCLUDED_LOGIT = -30.0  # of a user's own items, where the teacher excludes them


class DistillationRequests(Protocol):
    """Requests that teacher and student score."""

    @property
    def items(self) -> NDArray[np.int64]:
        """(n, length) numbers of the user's own items, -1 for padding."""
        ...

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """All inputs of a student, ``items`` first."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.generic], ...]:
        """Return the inputs of some requests, cut to the longest of them."""
        ...


@dataclass(frozen=True)
class TeacherScores:
    """The teacher's best items of each request.

    Attributes:
        items: (n, TEACHER_TOP_K) item numbers, best first.
        scores: (n, TEACHER_TOP_K) their scores.
        includes_seen: False if the teacher excludes a user's own items.
    """

    items: Ints
    scores: Floats
    includes_seen: bool

    def concatenate(self, others: "TeacherScores") -> "TeacherScores":
        """Return these scores followed by ``others`` of the same teacher."""
        items = np.concatenate([self.items, others.items])
        scores = np.concatenate([self.scores, others.scores])
        return TeacherScores(items, scores, self.includes_seen)

    def normalised_scores(self, rows: NDArray[np.intp]) -> Floats:
        """Return the scores of some requests, divided by the largest of each."""
        scores = self.scores[rows]
        largest = np.maximum(scores.max(1, keepdims=True), 1e-9)
        return (scores / largest).astype(np.float32)


def distil(
    student: nn.Module,
    requests: DistillationRequests,
    teacher_scores: TeacherScores,
    epochs: int,
    plan: TrainingPlan,
    advance: Callable[[float], None],
    batch_size: int = BATCH_SIZE,
) -> None:
    """Train ``student`` in place by Adam.

    Args:
        student: Network from a request's inputs to logits of all items.
        requests: The training requests.
        teacher_scores: The teacher's scores of the same requests.
        epochs: Passes over all requests.
        plan: Seed and number of threads.
        advance: Called after each batch with its share of an epoch.
        batch_size: Requests of a batch.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    optimiser = torch.optim.Adam(student.parameters(), _LEARNING_RATE)
    lengths = (requests.items >= 0).sum(1)
    batches_per_epoch = -(-len(requests) // batch_size)  # rounded up
    rate_factor = linear_schedule_with_warmup(epochs * batches_per_epoch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_factor)
    student.train()
    for _ in range(epochs):
        for rows in length_bucketed_batches(lengths, rng, batch_size):
            optimiser.zero_grad(set_to_none=True)
            _loss(student, requests, teacher_scores, rows).backward()
            optimiser.step()
            schedule.step()
            advance(1 / batches_per_epoch)
    student.eval()


def _loss(
    student: nn.Module,
    requests: DistillationRequests,
    teacher_scores: TeacherScores,
    rows: NDArray[np.intp],
) -> Tensor:
    """Mean divergence over the requests ``rows``."""
    inputs = requests.batch(rows)
    logits_BT = student(*[torch.from_numpy(array) for array in inputs])
    if not teacher_scores.includes_seen:
        length = inputs[0].shape[1]
        own_items = requests.items[rows, :length]
        row, column = np.nonzero(own_items >= 0)
        excluded = torch.from_numpy(row), torch.from_numpy(own_items[row, column])
        logits_BT = logits_BT.index_put(excluded, torch.tensor(_EXCLUDED_LOGIT))
    teacher_items_BK = torch.from_numpy(teacher_scores.items[rows].astype(np.int64))
    teacher_logits_BK = torch.from_numpy(teacher_scores.normalised_scores(rows) / TEMPERATURE)
    teacher_BK = torch.softmax(teacher_logits_BK, 1)
    log_teacher_BK = teacher_BK.clamp(min=1e-12).log()
    log_student_BK = torch.log_softmax(logits_BT, 1).gather(1, teacher_items_BK)
    divergence_B = (teacher_BK * (log_teacher_BK - log_student_BK)).sum(1)
    return divergence_B.mean()
