"""Student of a bundle's blend, distilled for devices; knows a fixed list of items and no users.

It is trained on the teacher's scores alone. Where the blend recommends items again that the user has interacted with, the student
reads repeat-consumption features, else the sequence of last items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vetrina.core.arrays import Floats, Ints
from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.training_plan import TrainingPlan
from vetrina.edge import repeat_consumption_distillation, sequence_distillation
from vetrina.edge.blend_teacher import BLEND, MAX_REQUESTS, BlendTeacher
from vetrina.edge.distillation import DistillationRequests, TeacherScores, distil
from vetrina.edge.repeat_student import RepeatStudent
from vetrina.edge.sequence_student import SequenceStudent, initial_embeddings
from vetrina.scenarios.recommend.online import Recommender, top_k

_MAX_HELD_OUT_USERS = 500
_MIN_EPOCHS = 5
_K = 10


@dataclass(frozen=True)
class _Schedule:
    """Length of a training: ``n_samples`` in all, but at most ``max_epochs`` and at least _MIN_EPOCHS."""

    n_samples: int
    max_epochs: int
    batch_size: int


_SEQUENCE_SCHEDULE = _Schedule(n_samples=1_500_000, max_epochs=40, batch_size=256)
# Repeat-consumption features need fewer samples and as many optimiser steps.
_REPEAT_CONSUMPTION_SCHEDULE = _Schedule(n_samples=400_000, max_epochs=20, batch_size=64)


@dataclass(frozen=True)
class DistilledStudent:
    """A trained student and its evaluation.

    ``catalogue_rows`` are its items in the bundle's catalogue. On ``held_out_requests``, ``agreement`` is the share of the
    teacher's first ten items that the student returns, ``popular_agreement`` the share that the most popular items are.
    """

    student: SequenceStudent | RepeatStudent
    catalogue_rows: Ints
    held_out_requests: DistillationRequests
    agreement: float
    popular_agreement: float


def distil_student(
    folder: Path, max_items: int, width: int, plan: TrainingPlan, progress: Progress, max_history: int = 0
) -> DistilledStudent:
    """A student of a bundle's blend.

    Args:
        folder: the bundle's folder.
        max_items: the student knows at most so many of the most interacted items.
        width: of its embeddings.
        plan: seed and threads of the training.
        progress: gets the steps of the teacher and of the training.
        max_history: number of items of a user that the student reads; 0 for the number that devices send.

    Raises:
        UnusableVariant: the bundle has too few items or users.
    """
    distil_one = _distil_sequence_student
    if student_class(folder) is RepeatStudent:
        distil_one = _distil_repeat_consumption_student
    return distil_one(BlendTeacher(folder, max_items), width, plan, progress, max_history)


def student_class(folder: Path) -> type[SequenceStudent] | type[RepeatStudent]:
    """SequenceStudent where the bundle's blend excludes items that the user has interacted with, else RepeatStudent."""
    if Recommender(folder).is_excluding_seen(BLEND):
        return SequenceStudent
    return RepeatStudent


def _distil_sequence_student(
    teacher: BlendTeacher, width: int, plan: TrainingPlan, progress: Progress, max_history: int
) -> DistilledStudent:
    rng = np.random.default_rng(plan.seed)
    max_length = max_history or sequence_distillation.MAX_SEQUENCE_LENGTH
    users = sequence_distillation.user_sequences(teacher, plan.seed)
    held_out = []
    for sequence in users[: _n_held_out(len(users))]:
        end = int(rng.integers(len(sequence[0]))) + 1
        held_out.append(sequence_distillation.truncate(sequence, end, max_length))
    _require_held_out_users(held_out)
    requests, teacher_scores = sequence_distillation.distillation_data(
        teacher, users[len(held_out) :], max_length, plan.seed, progress
    )
    n_items = len(teacher.catalogue_rows)
    single_item_rows = np.arange(len(requests) - n_items, len(requests))
    embeddings = initial_embeddings(teacher_scores, n_items, width, single_item_rows)
    student = SequenceStudent(embeddings, max_length)
    _train_student(student, requests, teacher_scores, _SEQUENCE_SCHEDULE, plan, progress)
    held_out_requests = sequence_distillation.student_inputs(held_out, max_length)
    histories = [teacher.to_history(sequence) for sequence in held_out]
    return _evaluate_student(student, teacher, held_out_requests, histories)


def _distil_repeat_consumption_student(
    teacher: BlendTeacher, width: int, plan: TrainingPlan, progress: Progress, max_history: int
) -> DistilledStudent:
    histories = teacher.recommender.histories
    max_items = max_history or repeat_consumption_distillation.MAX_ITEMS
    rng = np.random.default_rng(plan.seed)
    users = rng.permutation(histories.sample_users(MAX_REQUESTS)).tolist()
    held_out = [histories.history_of(user, (), histories.until) for user in users[: _n_held_out(len(users))]]
    _require_held_out_users(held_out)
    requests, teacher_scores = repeat_consumption_distillation.distillation_data(
        teacher, users[len(held_out) :], max_items, plan.seed, progress
    )
    student = RepeatStudent(teacher.item_counts, requests, width)
    _train_student(student, requests, teacher_scores, _REPEAT_CONSUMPTION_SCHEDULE, plan, progress)
    features = [repeat_consumption_distillation.repeat_consumption_features(history) for history in held_out]
    held_out_requests = repeat_consumption_distillation.student_inputs(features, teacher.student_index, max_items)
    return _evaluate_student(student, teacher, held_out_requests, held_out)


def _n_held_out(n_users: int) -> int:
    """A tenth of the users, at most _MAX_HELD_OUT_USERS."""
    return min(_MAX_HELD_OUT_USERS, n_users // 10)


def _require_held_out_users(held_out: Sequence[object]) -> None:
    if not held_out:
        raise UnusableVariant("it has too few users to train a student on")


def _train_student(
    student: SequenceStudent | RepeatStudent,
    requests: DistillationRequests,
    teacher_scores: TeacherScores,
    schedule: _Schedule,
    plan: TrainingPlan,
    progress: Progress,
) -> None:
    epochs = int(np.clip(schedule.n_samples // len(requests), _MIN_EPOCHS, schedule.max_epochs))
    with progress.step("student: epochs", epochs) as step:
        distil(student, requests, teacher_scores, epochs, plan, step.advance, schedule.batch_size)


def _evaluate_student(
    student: SequenceStudent | RepeatStudent,
    teacher: BlendTeacher,
    held_out_requests: DistillationRequests,
    histories: Sequence[History],
) -> DistilledStudent:
    """The student with its agreement with the teacher on held-out requests, and that of popularity.

    Args:
        student: trained.
        teacher: scores the histories.
        held_out_requests: n inputs of the student.
        histories: the n histories of these requests.
    """
    agreements = []
    popular_agreements = []
    inputs = [torch.from_numpy(array) for array in held_out_requests.inputs]
    with torch.no_grad():
        student_scores = student(*inputs).numpy()
    for history, scores in zip(histories, student_scores, strict=True):
        teacher_scores = teacher.score(history)
        agreements.append(_top_agreement(teacher_scores, scores))
        popular_agreements.append(_top_agreement(teacher_scores, teacher.item_counts))
    return DistilledStudent(
        student,
        teacher.catalogue_rows,
        held_out_requests,
        float(np.mean(agreements)),
        float(np.mean(popular_agreements)),
    )


def _top_agreement(teacher_scores: Floats, scores: Floats) -> float:
    """Share of the teacher's first ten items that are also first ten by ``scores``, without items that the blend excludes."""
    teacher_top = set(top_k(teacher_scores, _K).tolist())
    allowed_scores = np.where(np.isfinite(teacher_scores), scores, -np.inf)
    top = set(top_k(allowed_scores, _K).tolist())
    return len(teacher_top & top) / max(1, len(teacher_top))
