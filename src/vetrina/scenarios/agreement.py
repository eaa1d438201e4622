"""How alike two folders of one scenario answer the same requests; needs no label, so it can always be asked."""

from dataclasses import dataclass
from pathlib import Path

from vetrina.core import plugins


@dataclass(frozen=True)
class Agreement:
    """``share`` of the reference's answers (top ten, or decisions) that another folder gives too, over ``units`` requests."""

    units: int
    share: float


class Reference:
    """The answers of one folder to requests that it suggests: its users, its products' words, rows like those it learnt from."""

    def __init__(self, scenario: str, folder: Path, most: int) -> None:
        self._evaluation = plugins.part("scenarios", scenario, "evaluate")
        self._asked = self._evaluation.requests(folder, most)
        self._answers = self._evaluation.answers(folder, self._asked)

    def agreement(self, folder: Path) -> Agreement:
        """Ask another folder the same."""
        given = self._evaluation.answers(folder, self._asked)
        shares = [len(set(x) & set(y)) / len(set(y)) for x, y in zip(given, self._answers, strict=True) if y]
        return Agreement(len(shares), sum(shares) / len(shares) if shares else 1.0)
