"""Whether what shoppers looked at helps them find: search on Amazon 2018 Office and Industrial with the weights of a new shop.

The next product of each history of the test part is the target, asked for by the two words of its title that most other titles
share (letters only, no brand, in less than a tenth of the titles): how a shopper may name a kind of product. Learnt from the
valid part; what the history holds is left out. NDCG@10 of the target, 95 % paired bootstrap over rows, seed 42. "New" are
targets that nobody took in the valid part. The reference is the same search for a shopper nobody knows.
"""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.fusion import Row, Shop, read
from benchmarks.record import record, row
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History
from vetrina.core.tokeniser import tokenise
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.scenarios.search.online import Searcher
from vetrina.scenarios.search.scenario import RECIPE
from vetrina.train import train

_K = 10
_SOLD = 600
_WORDS = 2
_SHORTEST = 3
_COMMON = 0.1
_NONE = np.empty(0, np.int32)


def main() -> None:
    """Both sets."""
    for name in ("office", "industrial"):
        with tempfile.TemporaryDirectory() as scratch:
            shop = read(name)
            into = Path(scratch) / "w/judged"
            train(
                RECIPE,
                TrainingData(shop.catalogue, shop.events, cache=Path(scratch) / "cache"),
                "pinned",
                "judged",
                TrainingPlan(),
                into,
                NoProgress(),
            )
            _set(name, shop, Searcher(into))


def _set(name: str, shop: Shop, opened: Searcher) -> None:
    carriers = Counter(w for title in shop.catalogue.titles for w in set(tokenise(title)))
    asked = [(query, r) for r in (*shop.asked, *shop.sold[:_SOLD]) if (query := _query(shop, r[1], carriers))]
    new = np.array([shop.new[target] for _, (_, target) in asked])
    for what, rows in {"all": new | True, "new": new}.items():
        chosen = [a for a, there in zip(asked, rows, strict=True) if there]
        personal = np.array([_found(opened, query, r, r[0]) for query, r in chosen])
        usual = np.array([_found(opened, query, r, _NONE) for query, r in chosen])
        gain = paired_difference(personal, usual)
        found = mean_interval(personal)
        row(
            f"{name}, {what}: {len(chosen):,} queries",
            f"{found.point:.4f} [{found.low:.4f}, {found.high:.4f}]",
            f"of nobody {usual.mean():.4f}; gain {gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        )


def _query(shop: Shop, target: int, carriers: Counter[str]) -> str:
    """Empty where the title has no such words."""
    titles = shop.catalogue.titles
    brand = set(tokenise(shop.catalogue.brands[target]))
    usual = [
        w
        for w in dict.fromkeys(tokenise(titles[target]))
        if len(w) >= _SHORTEST and w.isalpha() and w not in brand and carriers[w] < _COMMON * len(titles)
    ]
    return " ".join(sorted(usual, key=lambda w: -carriers[w])[:_WORDS])


def _found(opened: Searcher, query: str, row: Row, known: np.ndarray) -> float:
    """Gain of the target's place, ties at half rank, for a shopper of whom ``known`` products are known."""
    history, target = row
    asked = History(known, np.zeros(len(known)), _NONE, np.empty(0), 0.0)
    candidates = opened.candidates(opened.correct(query), asked)
    candidates = candidates.take(~np.isin(candidates.items, history))
    score = opened.scores(candidates)
    own = candidates.items == target
    if not own.any():
        return 0.0
    at = float(score[own][0])
    place = float((score > at).sum() + ((score == at).sum() - 1) / 2)
    return 1.0 / float(np.log2(2.0 + place)) if place < _K else 0.0


if __name__ == "__main__":
    record("personal_search", __doc__, main)
