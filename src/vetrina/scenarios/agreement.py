"""How alike two folders of one scenario answer the same requests; needs no label, so it can always be asked."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core import plugins
from vetrina.core.types import EvaluationData

_LABELLED_PER_UNLABELLED_REQUEST = 10  # one in so many of the requests that labels stand for is asked where none does
ScoredAnswers = Sequence[Mapping[str, float]]  # of each request what was answered, best first, with its score


@dataclass(frozen=True)
class Agreement:
    """``share`` of the reference's answers (top ten, or decisions) that another folder gives too, over ``units`` requests.

    Of what both give: ``correlation`` of the two orders (Spearman, mean over requests), ``mean_error`` and ``max_error`` of the
    scores over the reference's largest of a request. ``work`` is CPU-microseconds of one answer of that folder, without opening
    it. ``unjudged`` is the share where no label says what is right, such as on the pages of products.
    """

    units: int
    share: float
    correlation: float = 1.0
    mean_error: float = 0.0
    max_error: float = 0.0
    work: float = 0.0
    unjudged: float = 1.0


class ReferenceAnswers:
    """The answers of one folder to requests that it suggests: its users, its products' words, rows like those it learnt from.

    ``evidence`` is what labels judge it on beside these, if anything.
    """

    def __init__(
        self, scenario: str, folder: Path, max_requests: int, evaluation_data: EvaluationData | None = None
    ) -> None:
        self._evaluation = evaluation = plugins.load_module("scenarios", scenario, "evaluate")
        self._requests = evaluation.sample_requests(folder, max_requests)
        self._unlabelled_requests = []
        if hasattr(evaluation, "sample_unlabelled_requests"):
            self._unlabelled_requests = evaluation.sample_unlabelled_requests(
                folder, max_requests // _LABELLED_PER_UNLABELLED_REQUEST
            )
        known = getattr(evaluation, "contributing_models", None)
        self._models_of_labelled, self._models_of_unlabelled = (
            known(folder, evaluation_data) if known else (None, frozenset())
        )
        self._answers, self.cpu_us = self._answer_and_time(folder)
        self._unlabelled_answers = self._answer_unlabelled(folder)

    def self_agreement(self) -> Agreement:
        """Of the reference's own folder."""
        return Agreement(len(self._requests), 1.0, work=self.cpu_us)

    def compare_folder(self, folder: Path, *, changed_model: str = "", previous: Agreement | None = None) -> Agreement:
        """Ask another folder the same.

        Where it differs in one model, ``changed``, from a folder that answered as ``before`` says, only what that model says
        something of is asked.
        """
        like = previous or Agreement(len(self._requests), 1.0)
        if previous is None or self.affects_labelled_requests(changed_model):
            given, work = self._answer_and_time(folder)
            like = replace(compare_answers(given, self._answers), work=work, unjudged=like.unjudged)
        else:
            self._evaluation.answer_requests(folder, self._requests[:1])  # which opens it
        if previous is None or changed_model in self._models_of_unlabelled:
            like = replace(
                like, unjudged=compare_answers(self._answer_unlabelled(folder), self._unlabelled_answers).share
            )
        return like

    def affects_labelled_requests(self, model: str) -> bool:
        """Whether it says something of what labels judge."""
        return self._models_of_labelled is None or model in self._models_of_labelled

    def n_requests_for(self, model: str) -> int:
        """How many requests are answered to compare a folder that differs in it."""
        return len(self._requests) * self.affects_labelled_requests(model) + len(self._unlabelled_requests) * (
            model in self._models_of_unlabelled
        )

    def affects_any_request(self, model: str) -> bool:
        """Whether it says something of what is asked at all."""
        return self.n_requests_for(model) > 0

    def _answer_unlabelled(self, folder: Path) -> ScoredAnswers:
        return self._evaluation.answer_requests(folder, self._unlabelled_requests) if self._unlabelled_requests else []

    def _answer_and_time(self, folder: Path) -> tuple[list[Any], float]:
        begun = time.process_time()
        self._evaluation.answer_requests(folder, self._requests[:1])
        opened = time.process_time()
        given = self._evaluation.answer_requests(folder, self._requests)
        took = (time.process_time() - opened) - (opened - begun)
        return given, max(0.0, 1e6 * took / max(1, len(self._requests) - 1))


def compare_answers(answers: ScoredAnswers, reference: ScoredAnswers) -> Agreement:
    """Of answers to the same requests; those that the reference leaves empty say nothing."""
    pairs = [(a, b) for a, b in zip(answers, reference, strict=True) if b]
    if not pairs:
        return Agreement(0, 1.0)
    shares = [len(a.keys() & b.keys()) / len(b) for a, b in pairs]
    both = [(np.array([a[k] for k in b if k in a]), np.array([b[k] for k in b if k in a])) for a, b in pairs]
    orders = [_spearman(x, y) for x, y in both if len(x) > 2]
    errors = [np.abs(x - y) / max(float(np.abs(y).max()), 1e-12) for x, y in both if len(x)]
    off = np.concatenate(errors) if errors else np.zeros(1)
    order = float(np.mean(orders)) if orders else 1.0
    return Agreement(len(pairs), float(np.mean(shares)), order, float(off.mean()), float(off.max()))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """1 where one of them has no order."""
    a, b = (np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float) for values in (x, y))
    return float(np.corrcoef(a, b)[0, 1]) if len(x) > 1 else 1.0
