"""A student of the blend that a bundle serves, for where the bundle cannot go. It knows the products of a shelf and no user.

It asks the bundle alone. Where users are shown what they had, it reads habits, and else last products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vetrina.core.errors import Unfit
from vetrina.core.progress import Progress
from vetrina.core.protocols import History
from vetrina.core.types import Ints, Plan
from vetrina.layers.distillation import Asked, Told, teach
from vetrina.layers.habit_student import HabitStudent
from vetrina.layers.sequence_student import SequenceStudent, begin
from vetrina.scenarios.recommend import habits, sequences
from vetrina.scenarios.recommend.online import Recommend, best
from vetrina.scenarios.recommend.teacher import BLEND, MOST, Teacher

_HELD, _FEWEST, _K = 500, 5, 10
# Requests that are learnt in all, how often each at most, and how many at once: habits are told in fewer, and want as many steps.
_SEQUENCES, _HABITS = (1_500_000, 40, 256), (400_000, 20, 64)


@dataclass(frozen=True)
class Taught:
    """The student, its shelf (rows of the bundle), requests that it did not learn from, and of these the share of the bundle's
    first ten that it gives, beside what is taken most."""

    student: SequenceStudent | HabitStudent
    shelf: Ints
    held: Asked
    agreement: float
    popular: float


def taught(folder: Path, most: int, width: int, plan: Plan, progress: Progress, length: int = 0) -> Taught:
    """A student of ``width`` for the ``most`` taken products that looks at ``length`` products of a user (0: as a device does).

    Raises Unfit for a bundle that says too little.
    """
    learnt = _habits if kind(folder) is HabitStudent else _sequences
    return learnt(Teacher(folder, most), width, plan, progress, length)


def kind(folder: Path) -> type[SequenceStudent] | type[HabitStudent]:
    """What reads habits where users are shown what they had, else what reads last products."""
    return SequenceStudent if Recommend(folder).leaves_out(BLEND) else HabitStudent


def _sequences(teacher: Teacher, width: int, plan: Plan, progress: Progress, length: int) -> Taught:
    rng, last = np.random.default_rng(plan.seed), length or sequences.LAST
    users = sequences.histories(teacher, plan.seed)
    some = users[: min(_HELD, len(users) // 10)]
    held = [sequences.cut(user, int(rng.integers(len(user[0]))) + 1, last) for user in some]
    _must_know(held)
    requests, told = sequences.lessons(teacher, users[len(held) :], last, plan.seed, progress)
    products = len(teacher.shelf)
    rows = np.arange(len(requests) - products, len(requests))
    student = SequenceStudent(begin(told, products, width, rows), last)
    _learn(student, requests, told, _SEQUENCES, plan, progress)
    return _judged(student, teacher, sequences.requests_of(held, last), [teacher.history(one) for one in held])


def _habits(teacher: Teacher, width: int, plan: Plan, progress: Progress, length: int) -> Taught:
    known, length = teacher.opened.histories, length or habits.LENGTH
    users = np.random.default_rng(plan.seed).permutation(known.users(MOST)).tolist()
    held = [known.of(user, (), known.until) for user in users[: min(_HELD, len(users) // 10)]]
    _must_know(held)
    requests, told = habits.lessons(teacher, users[len(held) :], length, plan.seed, progress)
    student = HabitStudent(teacher.counts, requests, width)
    _learn(student, requests, told, _HABITS, plan, progress)
    asked = habits.requests_of([habits.facts(one) for one in held], teacher.place, length)
    return _judged(student, teacher, asked, held)


def _must_know(held: Sequence[object]) -> None:
    if not held:
        raise Unfit("it knows too few users to teach a student with")


def _learn(
    student: SequenceStudent | HabitStudent,
    requests: Asked,
    told: Told,
    lesson: tuple[int, int, int],
    plan: Plan,
    progress: Progress,
) -> None:
    passes, oftenest, size = lesson
    epochs = int(np.clip(passes // len(requests), _FEWEST, oftenest))
    with progress.step("student: epochs", epochs) as step:
        teach(student, requests, told, epochs, plan, step.advance, size)


def _judged(
    student: SequenceStudent | HabitStudent, teacher: Teacher, held: Asked, histories: Sequence[History]
) -> Taught:
    shares, dull = [], []
    with torch.no_grad():
        said = student(*map(torch.from_numpy, held.arrays)).numpy()
    for history, row in zip(histories, said, strict=True):
        wanted = teacher.said(history)
        out = ~np.isfinite(wanted)
        first = set(best(wanted, _K).tolist())
        for scores, into in ((row, shares), (teacher.counts, dull)):
            into.append(len(first & set(best(np.where(out, -np.inf, scores), _K).tolist())) / max(1, len(first)))
    return Taught(student, teacher.shelf, held, float(np.mean(shares)), float(np.mean(dull)))
