"""Distillation data for the sequence student: truncated, continued and thinned histories, and single items.

A student memorises the histories that it is trained on, so it gets many of them, each a few times.
"""

import numpy as np

from vetrina.bundle.sequence_scorer.read import gap_classes
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Ints
from vetrina.edge.blend_teacher import MAX_REQUESTS, BlendTeacher, ItemSequence
from vetrina.edge.distillation import TeacherScores
from vetrina.edge.sequence_student import SequenceRequests

MAX_SEQUENCE_LENGTH = 20  # last items of a user that a device sends
_WHOLE_HISTORY_PART = 4  # a quarter of the requests at most are whole histories
_CONTINUED_PART = 3  # a third of the requests at most are continued histories
_MAX_CONTINUATIONS = 4  # of one whole history
_ITEM_DROP_EVERY = 6  # one in so many truncated histories is thinned
_ITEM_DROP_SHARE = 0.25  # of the items of a thinned history
_RECOMMENDED_SHARE = 0.7  # of the continuations that are an item that the teacher recommends
_SAMPLING_TEMPERATURE = 0.15  # of the softmax that samples it by its score
_CONTINUATION_DELAYS_SECONDS = (60.0, 3_600.0, 86_400.0)
_EMPTY_HISTORY_SHARE = 0.02  # of the requests that are made without any history


def user_sequences(teacher: BlendTeacher, seed: int) -> list[ItemSequence]:
    """Whole histories of users in random order, reduced to the student's items."""
    histories = teacher.recommender.histories
    sequences = []
    for user in histories.sample_users(MAX_REQUESTS):
        history = histories.history_of(user, (), histories.until)
        indices = teacher.student_index[history.items]
        is_known = indices >= 0
        if is_known.any():
            sequences.append((indices[is_known], history.times[is_known]))
    order = np.random.default_rng(seed).permutation(len(sequences))
    return [sequences[index] for index in order]


def distillation_data(
    teacher: BlendTeacher, users: list[ItemSequence], max_length: int, seed: int, progress: Progress
) -> tuple[SequenceRequests, TeacherScores]:
    """Inputs of the student, and the teacher's scores for the same requests; the last requests are each item alone.

    Whole histories come first, since they are continued with what the teacher recommends for them. Then histories truncated at
    random, some of them thinned, and empty ones.

    Args:
        teacher: a loaded bundle.
        users: histories of the users to train on.
        max_length: last items of a history that the student reads.
        seed: of the random requests.
        progress: gets two steps.
    """
    rng = np.random.default_rng(seed)
    n_items = len(teacher.catalogue_rows)

    n_whole = teacher.max_requests // _WHOLE_HISTORY_PART
    whole = [truncate(sequence, len(sequence[0]), max_length) for sequence in users[:n_whole]]
    whole_scores = teacher.score_requests(whole, teacher.to_history, progress)

    others: list[ItemSequence] = []
    n_continuations = min(_MAX_CONTINUATIONS, max(1, teacher.max_requests // _CONTINUED_PART // len(whole)))
    for turn in range(n_continuations):
        others += continue_sequences(whole, whole_scores, n_items, seed + turn, max_length)
    n_truncated = max(0, teacher.max_requests - len(others) - len(whole))
    others += _truncated_sequences(users, n_truncated, max_length, rng)
    n_empty = max(1, int(_EMPTY_HISTORY_SHARE * len(others)))
    others += [(np.empty(0, np.int64), np.empty(0))] * n_empty
    others += [(np.array([item]), np.zeros(1)) for item in range(n_items)]

    other_scores = teacher.score_requests(others, teacher.to_history, progress)
    return student_inputs([*whole, *others], max_length), whole_scores.concatenate(other_scores)


def _truncated_sequences(
    users: list[ItemSequence], max_sequences: int, max_length: int, rng: np.random.Generator
) -> list[ItemSequence]:
    """Histories truncated before their end, a random choice of all such cuts; every sixth is thinned."""
    cuts = [(sequence, end) for sequence in users for end in range(1, len(sequence[0]))]
    chosen = rng.permutation(len(cuts))[:max_sequences]
    truncated = []
    for index in chosen:
        sequence, end = cuts[index]
        truncated.append(truncate(sequence, end, max_length))
    for position in range(0, len(truncated), _ITEM_DROP_EVERY):
        truncated[position] = drop_items(truncated[position], rng)
    return truncated


def truncate(sequence: ItemSequence, end: int, max_length: int) -> ItemSequence:
    """The last ``max_length`` of the first ``end`` interactions."""
    items, times = sequence
    start = max(0, end - max_length)
    return items[start:end], times[start:end]


def drop_items(sequence: ItemSequence, rng: np.random.Generator) -> ItemSequence:
    """A history with random items missing, but never the newest."""
    items, times = sequence
    keep = rng.random(len(items)) >= _ITEM_DROP_SHARE
    keep[-1:] = True
    return items[keep], times[keep]


def continue_sequences(
    sequences: list[ItemSequence],
    teacher_scores: TeacherScores,
    n_items: int,
    seed: int,
    max_length: int = MAX_SEQUENCE_LENGTH,
) -> list[ItemSequence]:
    """The histories with one more item, mostly one that the teacher recommends.

    A device never requests with a history that the bundle knows, but with one that went on.

    Args:
        sequences: n histories.
        teacher_scores: the teacher's best items of each.
        n_items: number of the student's items.
        seed: of the random items.
        max_length: last items of a history that the student reads.
    """
    rng = np.random.default_rng(seed)
    continued = []
    for (items, times), top_items, scores in zip(sequences, teacher_scores.items, teacher_scores.scores, strict=True):
        next_item = _sample_next_item(top_items, scores, n_items, rng)
        next_time = times[-1] + rng.choice(_CONTINUATION_DELAYS_SECONDS)
        continued.append((np.append(items[1 - max_length :], next_item), np.append(times[1 - max_length :], next_time)))
    return continued


def _sample_next_item(top_items: Ints, scores: Floats, n_items: int, rng: np.random.Generator) -> int:
    """One of the teacher's best items (k,), sampled by the softmax of their scores (k,); sometimes any of the items."""
    normalised = scores.astype(np.float64) / max(float(scores.max()), 1e-9)
    weight = np.exp(normalised / _SAMPLING_TEMPERATURE)
    if rng.random() < _RECOMMENDED_SHARE:
        return int(rng.choice(top_items, p=weight / weight.sum()))
    return int(rng.integers(n_items))


def student_inputs(sequences: list[ItemSequence], max_length: int = MAX_SEQUENCE_LENGTH) -> SequenceRequests:
    """Inputs of the student: of each history the items and the classes of the time gaps between them, newest first."""
    items = np.full((len(sequences), max_length), -1, np.int64)
    gaps = np.zeros((len(sequences), max_length), np.int64)
    for row, (own_items, times) in enumerate(sequences):
        n_own = len(own_items)
        is_first = np.arange(n_own) == 0
        items[row, :n_own] = own_items[::-1]
        gaps[row, :n_own] = gap_classes(times, is_first)[::-1]
    return SequenceRequests(items, gaps)
