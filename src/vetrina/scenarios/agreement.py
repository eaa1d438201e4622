"""Answer agreement: how far two versions of one scenario give the same answers to the same requests. Needs no labels.

Compression uses it to check that a smaller variant of a model changes few answers.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vetrina.scenarios.base import find_scenario
from vetrina.scenarios.component_scores import ScoredAnswers

_LABELLED_PER_UNLABELLED_REQUEST = 10  # labelled requests for each unlabelled one


@dataclass(frozen=True)
class Agreement:
    """Agreement of a folder's answers with those of a reference folder.

    ``units`` requests were compared; ``share`` of the reference's answers (top ten, or decisions) are in the other folder's, too.
    Of the common answers: ``correlation`` of the two orders (Spearman, mean over requests), ``mean_error`` and ``max_error`` of
    the scores, relative to the reference's largest score of a request. ``work`` is CPU microseconds of one answer of the other
    folder, without loading it. ``unjudged`` is the share for unlabelled requests, such as those on product pages.
    """

    units: int
    share: float
    correlation: float = 1.0
    mean_error: float = 0.0
    max_error: float = 0.0
    work: float = 0.0
    unjudged: float = 1.0


class ReferenceAnswers:
    """The answers of a reference folder to sample requests.

    Labelled requests are like those of the evaluation; unlabelled ones are requests for which there are no labels.
    """

    def __init__(self, scenario: str, folder: Path, max_requests: int) -> None:
        """Samples requests and answers them.

        Args:
            scenario: name of the scenario.
            folder: the reference's folder, which suggests the requests: its users, words of its products, rows like its own.
            max_requests: at most so many labelled requests.
        """
        self._scenario = find_scenario(scenario)
        self._requests = self._scenario.sample_requests(folder, max_requests)
        n_unlabelled = max_unlabelled(max_requests)
        self._unlabelled_requests = self._scenario.sample_unlabelled_requests(folder, n_unlabelled)
        self._answers, self.cpu_us = self._answer_and_time(folder)
        self._unlabelled_answers = self._answer_unlabelled(folder)

    @property
    def n_requests(self) -> int:
        """Number of requests that are answered to compare a folder."""
        return len(self._requests) + len(self._unlabelled_requests)

    def self_agreement(self) -> Agreement:
        """The agreement of the reference folder with itself."""
        return Agreement(len(self._requests), 1.0, work=self.cpu_us)

    def compare_folder(self, folder: Path) -> Agreement:
        """The agreement of another folder, which answers the same requests."""
        answers, work = self._answer_and_time(folder)
        unlabelled = compare_answers(self._answer_unlabelled(folder), self._unlabelled_answers)
        return replace(compare_answers(answers, self._answers), work=work, unjudged=unlabelled.share)

    def _answer_unlabelled(self, folder: Path) -> ScoredAnswers:
        if not self._unlabelled_requests:
            return []
        return self._scenario.answer_requests(folder, self._unlabelled_requests)

    def _answer_and_time(self, folder: Path) -> tuple[ScoredAnswers, float]:
        """Answers to the labelled requests, and CPU microseconds of one answer without loading the folder."""
        started = time.process_time()
        self._scenario.answer_requests(folder, self._requests[:1])
        warmed_up = time.process_time()
        answers = self._scenario.answer_requests(folder, self._requests)
        finished = time.process_time()
        # Both calls load the folder and answer one request: the difference is the time of the other requests.
        seconds = (finished - warmed_up) - (warmed_up - started)
        return answers, max(0.0, 1e6 * seconds / max(1, len(self._requests) - 1))


def max_unlabelled(max_requests: int) -> int:
    """The number of unlabelled requests beside ``max_requests`` labelled ones."""
    return max_requests // _LABELLED_PER_UNLABELLED_REQUEST


def compare_answers(answers: ScoredAnswers, reference: ScoredAnswers) -> Agreement:
    """The agreement of answers to the same requests; requests with an empty answer in the reference are left out."""
    shares = []
    correlations = []
    errors = []
    for ours, theirs in zip(answers, reference, strict=True):
        if not theirs:
            continue
        common = [name for name in theirs if name in ours]
        our_scores = np.array([ours[name] for name in common])
        their_scores = np.array([theirs[name] for name in common])
        shares.append(len(common) / len(theirs))
        if len(common) > 2:
            correlations.append(_spearman(our_scores, their_scores))
        if common:
            largest = max(float(np.abs(their_scores).max()), 1e-12)
            errors.append(np.abs(our_scores - their_scores) / largest)
    if not shares:
        return Agreement(0, 1.0)
    all_errors = np.concatenate(errors) if errors else np.zeros(1)
    return Agreement(
        units=len(shares),
        share=float(np.mean(shares)),
        correlation=float(np.mean(correlations)) if correlations else 1.0,
        mean_error=float(all_errors.mean()),
        max_error=float(all_errors.max()),
    )


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation of two arrays (n,); 1 for less than two values."""
    if len(x) < 2:
        return 1.0
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """(n,) rank of each value from 0, ties by index."""
    order = np.argsort(values, kind="stable")
    return np.argsort(order, kind="stable").astype(float)
