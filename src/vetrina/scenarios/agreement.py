"""How alike two folders of one scenario answer the same requests; needs no label, so it can always be asked."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core import plugins
from vetrina.core.types import Evidence

_ELSEWHERE = 10  # one in so many of the requests that labels stand for is asked where none does
Answers = Sequence[Mapping[str, float]]  # of each request what was answered, best first, with its score


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


class Reference:
    """The answers of one folder to requests that it suggests: its users, its products' words, rows like those it learnt from.

    ``evidence`` is what labels judge it on beside these, if anything.
    """

    def __init__(self, scenario: str, folder: Path, most: int, evidence: Evidence | None = None) -> None:
        self._evaluation = evaluation = plugins.part("scenarios", scenario, "evaluate")
        self._asked, self._elsewhere = evaluation.requests(folder, most), []
        if hasattr(evaluation, "unjudged"):
            self._elsewhere = evaluation.unjudged(folder, most // _ELSEWHERE)
        known = getattr(evaluation, "asked_models", None)
        self._judged, self._unjudged = known(folder, evidence) if known else (None, frozenset())
        self._answers, self.work = self._answered(folder)
        self._usual_elsewhere = self._elsewhere_of(folder)

    def itself(self) -> Agreement:
        """Of the reference's own folder."""
        return Agreement(len(self._asked), 1.0, work=self.work)

    def agreement(self, folder: Path, *, changed: str = "", before: Agreement | None = None) -> Agreement:
        """Ask another folder the same.

        Where it differs in one model, ``changed``, from a folder that answered as ``before`` says, only what that model says
        something of is asked.
        """
        like = before or Agreement(len(self._asked), 1.0)
        if before is None or self.judges(changed):
            given, work = self._answered(folder)
            like = replace(compared(given, self._answers), work=work, unjudged=like.unjudged)
        else:
            self._evaluation.answers(folder, self._asked[:1])  # which opens it
        if before is None or changed in self._unjudged:
            like = replace(like, unjudged=compared(self._elsewhere_of(folder), self._usual_elsewhere).share)
        return like

    def judges(self, model: str) -> bool:
        """Whether it says something of what labels judge."""
        return self._judged is None or model in self._judged

    def asks(self, model: str) -> int:
        """How many requests are answered to compare a folder that differs in it."""
        return len(self._asked) * self.judges(model) + len(self._elsewhere) * (model in self._unjudged)

    def compares(self, model: str) -> bool:
        """Whether it says something of what is asked at all."""
        return self.asks(model) > 0

    def _elsewhere_of(self, folder: Path) -> Answers:
        return self._evaluation.answers(folder, self._elsewhere) if self._elsewhere else []

    def _answered(self, folder: Path) -> tuple[list[Any], float]:
        begun = time.process_time()
        self._evaluation.answers(folder, self._asked[:1])
        opened = time.process_time()
        given = self._evaluation.answers(folder, self._asked)
        took = (time.process_time() - opened) - (opened - begun)
        return given, max(0.0, 1e6 * took / max(1, len(self._asked) - 1))


def compared(given: Answers, usual: Answers) -> Agreement:
    """Of answers to the same requests; those that the reference leaves empty say nothing."""
    pairs = [(a, b) for a, b in zip(given, usual, strict=True) if b]
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
