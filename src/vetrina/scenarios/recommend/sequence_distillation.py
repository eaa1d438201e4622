"""What a student that reads last products is taught with: histories cut anywhere, gone on or thinned, each product by itself.

A student learns the very histories that it is taught with by heart, so it takes many, each a few times.
"""

import numpy as np

from vetrina.core.progress import Progress
from vetrina.layers.distillation import TeacherScores
from vetrina.layers.sequence_student import SequenceRequests
from vetrina.retrieval.sequence_scorer import gap_classes
from vetrina.scenarios.recommend.blend_teacher import MAX_REQUESTS, BlendTeacher, ItemSequence

MAX_SEQUENCE_LENGTH = 20
# Of a user's whole history so many go on; of the requests a third at most, and a sixth are histories of which a share is missing.
_MAX_CONTINUATIONS = 4
_ITEM_DROP_EVERY = 6
_ITEM_DROP_SHARE = 0.25
# Of products behind a history so many are recommended ones, drawn by their scores at this temperature, so many seconds later.
_RECOMMENDED_SHARE = 0.7
_SAMPLING_TEMPERATURE = 0.15
_CONTINUATION_DELAYS_SECONDS = (60.0, 3_600.0, 86_400.0)
_EMPTY_HISTORY_SHARE = 0.02  # of the lessons are about somebody of whom nothing is known


def user_sequences(teacher: BlendTeacher, seed: int) -> list[ItemSequence]:
    """Whole histories of users in random order."""
    known = teacher.recommender.histories
    found = []
    for user in known.sample_users(MAX_REQUESTS):
        history = known.history_of(user, (), known.until)
        there = teacher.student_index[history.items] >= 0
        if there.any():
            found.append((teacher.student_index[history.items[there]], history.times[there]))
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def distillation_data(
    teacher: BlendTeacher, users: list[ItemSequence], max_length: int, seed: int, progress: Progress
) -> tuple[SequenceRequests, TeacherScores]:
    """Requests and what the teacher says of them; the last are about every product of the shelf alone.

    Whole histories first, since what goes on behind them follows what is recommended there; then histories cut anywhere, some
    with products missing, and nobody's.
    """
    rng = np.random.default_rng(seed)
    products = len(teacher.catalogue_rows)

    whole = [truncate(user, len(user[0]), max_length) for user in users[: teacher.max_requests // 4]]
    first = teacher.score_requests(whole, teacher.to_history, progress)
    more = min(_MAX_CONTINUATIONS, max(1, teacher.max_requests // 3 // len(whole)))
    asked = [one for turn in range(more) for one in continue_sequences(whole, first, products, seed + turn, max_length)]
    cuts = [(user, end) for user in users for end in range(1, len(user[0]))]
    chosen = rng.permutation(len(cuts))[: max(0, teacher.max_requests - len(asked) - len(whole))]
    short = [truncate(user, end, max_length) for user, end in (cuts[i] for i in chosen)]
    asked += [drop_items(one, rng) if at % _ITEM_DROP_EVERY == 0 else one for at, one in enumerate(short)]
    asked += [(np.empty(0, np.int64), np.empty(0))] * max(1, int(_EMPTY_HISTORY_SHARE * len(asked)))
    asked += [(np.array([i]), np.zeros(1)) for i in range(products)]
    return student_inputs([*whole, *asked], max_length), first.concatenate(
        teacher.score_requests(asked, teacher.to_history, progress)
    )


def truncate(sequence: ItemSequence, end: int, max_length: int) -> ItemSequence:
    """The ``last`` of the first ``end``."""
    return sequence[0][max(0, end - max_length) : end], sequence[1][max(0, end - max_length) : end]


def drop_items(sequence: ItemSequence, rng: np.random.Generator) -> ItemSequence:
    """A history of which a share is missing, the newest product never."""
    keep = rng.random(len(sequence[0])) >= _ITEM_DROP_SHARE
    keep[-1:] = True
    return sequence[0][keep], sequence[1][keep]


def continue_sequences(
    sequences: list[ItemSequence],
    teacher_scores: TeacherScores,
    n_items: int,
    seed: int,
    max_length: int = MAX_SEQUENCE_LENGTH,
) -> list[ItemSequence]:
    """The histories with one product behind, mostly one that is recommended there: what a device asks about is never a history
    that the bundle knows, but one that went on."""
    rng = np.random.default_rng(seed)
    found = []
    for (own, times), items, scores in zip(sequences, teacher_scores.items, teacher_scores.scores, strict=True):
        weight = np.exp(scores.astype(np.float64) / max(float(scores.max()), 1e-9) / _SAMPLING_TEMPERATURE)
        new = rng.choice(items, p=weight / weight.sum()) if rng.random() < _RECOMMENDED_SHARE else rng.integers(n_items)
        found.append(
            (
                np.append(own[1 - max_length :], new),
                np.append(times[1 - max_length :], times[-1] + rng.choice(_CONTINUATION_DELAYS_SECONDS)),
            )
        )
    return found


def student_inputs(sequences: list[ItemSequence], max_length: int = MAX_SEQUENCE_LENGTH) -> SequenceRequests:
    """As the student is asked: the newest first."""
    items = np.full((len(sequences), max_length), -1, np.int64)
    apart = np.zeros((len(sequences), max_length), np.int64)
    for row, (own, times) in enumerate(sequences):
        n = len(own)
        items[row, :n] = own[::-1]
        apart[row, :n] = gap_classes(times, np.arange(n) == 0)[::-1]
    return SequenceRequests(items, apart)
