"""Buyers of products that nobody had bought, on Complete Journey: launched in the test period, 12-18 to the end.

Fit on everything before 2017-12-18. A launch is a product first sold in the test period; all households known before are
ranked for it. Pooled lift: the share of all buyers that stand among the first households, divided by that share of households;
95 % bootstrap over launches, 2,000 draws, seed 42. The reference is the better of two dull ways at each share.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import heading, note, record, row
from vetrina import Shop
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset
from vetrina.demo import write_input_files
from vetrina.evaluation.ranking import mid_ranks
from vetrina.scenarios.launch.evaluate import new_items_with_buyers
from vetrina.scenarios.launch.online import AudienceSelector
from vetrina.scenarios.launch.scenario import RECIPE
from vetrina.train import train

TEST, END = (datetime(*d, tzinfo=UTC).timestamp() for d in ((2017, 12, 18), (2018, 2, 1)))
SHARES = (0.01, 0.05)


def main() -> None:
    """Lift of every model in the first 1 % and 5 % of households, beside what the trees gain over the best dull way."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        source = write_input_files(root / "source")
        snapshot = Shop(root / "shop").ingest(products=source.products, events=source.events)
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None
        past = TrainingData(catalogue, dataset.interactions(snapshot, catalogue, TEST), cache=root / "cache")
        begun = time.process_time()
        fitted, _ = train(RECIPE, past, "pinned", "judged", TrainingPlan(), root / "w/judged", NoProgress())
        spent = time.process_time() - begun
        opened = AudienceSelector(fitted.folder)
        targets = dataset.targets(snapshot, catalogue, TEST, END)
        new_items = list(new_items_with_buyers(opened, targets))
        buyers = sum(len(b) for _, b in new_items)
        note(f"{len(new_items)} launches, {buyers / len(new_items):.2f} buyers each, {len(opened.users)} households")
        note(
            f"trees learnt from {fitted.notes['reach'].report['launches']} earlier launches in {spent:.0f} CPU-seconds"
        )
        ways = {
            "activity of the household": None,
            "category affinity": "affinity",
            "content alone": "content",
            "reach": "reach",
        }
        hits = {way: _hits(opened, new_items, model) for way, model in ways.items()}
        sizes = np.array([len(b) for _, b in new_items], np.float64)
        for at, share in enumerate(SHARES):
            heading(f"first {share:.0%} of households: lift (95 % interval)")
            best = max(list(hits)[:2], key=lambda way: hits[way][:, at].sum())
            for way, values in hits.items():
                row(way, _lift(values[:, at], sizes, share))
            row(f"reach over {best}", _ratio(hits["reach"][:, at], hits[best][:, at]), "goal 1.5")


def _hits(
    opened: AudienceSelector, new_items: list[tuple[int, NDArray[np.intp]]], model: str | None
) -> NDArray[np.float64]:
    """(launches, SHARES) how many buyers stand among the first households."""
    first = [max(1, round(share * len(opened.users))) for share in SHARES]
    rows = np.zeros((len(new_items), len(SHARES)))
    for at, (item, buyers) in enumerate(new_items):
        score = (
            opened.affinities.user_features[:, 0]
            if model is None
            else opened.scores(opened.catalogue_product(item), model)
        )
        ranks = mid_ranks(score, buyers[buyers >= 0])
        rows[at] = [(ranks < reached + 1).sum() for reached in first]
    return rows


def _lift(hits: NDArray[np.float64], sizes: NDArray[np.float64], share: float) -> str:
    return _said(hits / share, sizes)


def _ratio(own: NDArray[np.float64], reference: NDArray[np.float64]) -> str:
    return _said(own, reference)


def _said(above: NDArray[np.float64], below: NDArray[np.float64]) -> str:
    """The ratio of two sums over launches with its bootstrap interval."""
    rng = np.random.default_rng(42)
    rows = (rng.integers(0, len(above), len(above)) for _ in range(2_000))
    drawn = [above[r].sum() / max(below[r].sum(), 1e-9) for r in rows]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{above.sum() / below.sum():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    record("launches", __doc__, main)
