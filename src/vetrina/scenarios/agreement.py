"""How alike two folders of one scenario answer the same requests; needs no label, so it can always be asked."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vetrina.core import plugins


@dataclass(frozen=True)
class Agreement:
    """``share`` of the reference's answers (top ten, or decisions) that another folder gives too, over ``units`` requests.

    ``work`` is CPU-microseconds of one answer of that folder, without opening it.
    """

    units: int
    share: float
    work: float = 0.0


class Reference:
    """The answers of one folder to requests that it suggests: its users, its products' words, rows like those it learnt from."""

    def __init__(self, scenario: str, folder: Path, most: int) -> None:
        self._evaluation = plugins.part("scenarios", scenario, "evaluate")
        self._asked = self._evaluation.requests(folder, most)
        self._answers, self.work = self._answered(folder)

    def agreement(self, folder: Path) -> Agreement:
        """Ask another folder the same."""
        given, work = self._answered(folder)
        shares = [len(set(x) & set(y)) / len(set(y)) for x, y in zip(given, self._answers, strict=True) if y]
        return Agreement(len(shares), sum(shares) / len(shares) if shares else 1.0, work)

    def _answered(self, folder: Path) -> tuple[list[Any], float]:
        begun = time.process_time()
        self._evaluation.answers(folder, self._asked[:1])
        opened = time.process_time()
        given = self._evaluation.answers(folder, self._asked)
        took = (time.process_time() - opened) - (opened - begun)
        return given, max(0.0, 1e6 * took / max(1, len(self._asked) - 1))
