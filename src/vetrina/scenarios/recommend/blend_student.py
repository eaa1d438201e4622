"""A student of the blend that a bundle serves, for where the bundle cannot go. It knows the products of a shelf and no user.

It asks the bundle alone. Where users are shown what they had, it reads habits, and else last products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Ints, TrainingPlan
from vetrina.layers.distillation import DistillationRequests, TeacherScores, distil
from vetrina.layers.repeat_student import RepeatStudent
from vetrina.layers.sequence_student import SequenceStudent, initial_embeddings
from vetrina.scenarios.recommend import repeat_consumption_distillation, sequence_distillation
from vetrina.scenarios.recommend.blend_teacher import BLEND, MAX_REQUESTS, BlendTeacher
from vetrina.scenarios.recommend.online import Recommender, top_k

_MAX_HELD_OUT_USERS = 500
_MIN_EPOCHS = 5
_K = 10
# Requests that are learnt in all, how often each at most, and how many at once: habits are told in fewer, and want as many steps.
_SEQUENCE_SCHEDULE = (1_500_000, 40, 256)
_REPEAT_CONSUMPTION_SCHEDULE = (400_000, 20, 64)


@dataclass(frozen=True)
class DistilledStudent:
    """The student, its shelf (rows of the bundle), requests that it did not learn from, and of these the share of the bundle's
    first ten that it gives, beside what is taken most."""

    student: SequenceStudent | RepeatStudent
    catalogue_rows: Ints
    held_out_requests: DistillationRequests
    agreement: float
    popular_agreement: float


def distil_student(
    folder: Path, max_items: int, width: int, plan: TrainingPlan, progress: Progress, max_history: int = 0
) -> DistilledStudent:
    """A student of ``width`` for the ``most`` taken products that looks at ``length`` products of a user (0: as a device does).

    Raises Unfit for a bundle that says too little.
    """
    learnt = _distil_repeat_consumption_student if student_class(folder) is RepeatStudent else _distil_sequence_student
    return learnt(BlendTeacher(folder, max_items), width, plan, progress, max_history)


def student_class(folder: Path) -> type[SequenceStudent] | type[RepeatStudent]:
    """What reads habits where users are shown what they had, else what reads last products."""
    return SequenceStudent if Recommender(folder).is_excluding_seen(BLEND) else RepeatStudent


def _distil_sequence_student(
    teacher: BlendTeacher, width: int, plan: TrainingPlan, progress: Progress, length: int
) -> DistilledStudent:
    rng = np.random.default_rng(plan.seed)
    last = length or sequence_distillation.MAX_SEQUENCE_LENGTH
    users = sequence_distillation.user_sequences(teacher, plan.seed)
    some = users[: min(_MAX_HELD_OUT_USERS, len(users) // 10)]
    held = [sequence_distillation.truncate(user, int(rng.integers(len(user[0]))) + 1, last) for user in some]
    _require_held_out_users(held)
    requests, told = sequence_distillation.distillation_data(teacher, users[len(held) :], last, plan.seed, progress)
    products = len(teacher.catalogue_rows)
    rows = np.arange(len(requests) - products, len(requests))
    student = SequenceStudent(initial_embeddings(told, products, width, rows), last)
    _train_student(student, requests, told, _SEQUENCE_SCHEDULE, plan, progress)
    return _evaluate_student(
        student, teacher, sequence_distillation.student_inputs(held, last), [teacher.to_history(one) for one in held]
    )


def _distil_repeat_consumption_student(
    teacher: BlendTeacher, width: int, plan: TrainingPlan, progress: Progress, length: int
) -> DistilledStudent:
    known = teacher.recommender.histories
    length = length or repeat_consumption_distillation.MAX_ITEMS
    users = np.random.default_rng(plan.seed).permutation(known.sample_users(MAX_REQUESTS)).tolist()
    held = [known.history_of(user, (), known.until) for user in users[: min(_MAX_HELD_OUT_USERS, len(users) // 10)]]
    _require_held_out_users(held)
    requests, told = repeat_consumption_distillation.distillation_data(
        teacher, users[len(held) :], length, plan.seed, progress
    )
    student = RepeatStudent(teacher.item_counts, requests, width)
    _train_student(student, requests, told, _REPEAT_CONSUMPTION_SCHEDULE, plan, progress)
    asked = repeat_consumption_distillation.student_inputs(
        [repeat_consumption_distillation.repeat_consumption_features(one) for one in held],
        teacher.student_index,
        length,
    )
    return _evaluate_student(student, teacher, asked, held)


def _require_held_out_users(held_out: Sequence[object]) -> None:
    if not held_out:
        raise UnusableVariant("it knows too few users to teach a student with")


def _train_student(
    student: SequenceStudent | RepeatStudent,
    requests: DistillationRequests,
    teacher_scores: TeacherScores,
    schedule: tuple[int, int, int],
    plan: TrainingPlan,
    progress: Progress,
) -> None:
    passes, oftenest, size = schedule
    epochs = int(np.clip(passes // len(requests), _MIN_EPOCHS, oftenest))
    with progress.step("student: epochs", epochs) as step:
        distil(student, requests, teacher_scores, epochs, plan, step.advance, size)


def _evaluate_student(
    student: SequenceStudent | RepeatStudent,
    teacher: BlendTeacher,
    held_out_requests: DistillationRequests,
    histories: Sequence[History],
) -> DistilledStudent:
    shares = []
    dull = []
    with torch.no_grad():
        said = student(*map(torch.from_numpy, held_out_requests.inputs)).numpy()
    for history, row in zip(histories, said, strict=True):
        wanted = teacher.score(history)
        out = ~np.isfinite(wanted)
        first = set(top_k(wanted, _K).tolist())
        for scores, into in ((row, shares), (teacher.item_counts, dull)):
            into.append(len(first & set(top_k(np.where(out, -np.inf, scores), _K).tolist())) / max(1, len(first)))
    return DistilledStudent(
        student, teacher.catalogue_rows, held_out_requests, float(np.mean(shares)), float(np.mean(dull))
    )
