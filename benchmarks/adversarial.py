"""What adversarial training (APR) does for a sequence network: SASRec on Amazon Beauty with either `[train] loss`.

Leave-one-out as in ``sequences``, 6,000 users in the order of their pseudonyms, NDCG@10 of the network alone; as it is, and with
every product's vector moved at random by .3 and .6 of the usual length (seed 0), as small forms and stale products move them.
95 % bootstrap over users.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.record import record, row
from benchmarks.sequences import DAY, END, files
from vetrina import Shop
from vetrina.core.progress import NoProgress
from vetrina.core.types import EvaluationData, TrainingData, TrainingPlan
from vetrina.data import dataset
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.features import histories
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

_MOST = 6_000
_MOVED = (0.0, 0.3, 0.6)
_MODELS = ("popular", "sasrec")


def main() -> None:
    """Both losses, three times moved."""
    with tempfile.TemporaryDirectory() as scratch:
        _all(Path(scratch))


def _all(root: Path) -> None:
    products, events = files("amazon-beauty-5core", root)
    snapshot = Shop(root / "shop").ingest(products=[products], events=[events])
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    last = END.timestamp()
    learnt, known = (
        TrainingData(catalogue, dataset.interactions(snapshot, catalogue, until)) for until in (last - DAY, last)
    )
    evidence = EvaluationData(targets=dataset.targets(snapshot, catalogue, last, last + DAY), now=last)
    recipe = replace(RECIPE, models=_MODELS)
    usual = {}
    without = tuple(name for name in RECIPE.models if name not in _MODELS)
    for loss in ("cross-entropy", "adversarial"):
        begun = time.process_time()
        into = root / loss / "fit"
        plan = TrainingPlan(loss=loss, without=without)
        fitted, _ = train(recipe, learnt, f"pinned {loss}", "fit", plan, into, NoProgress())
        spent = time.process_time() - begun
        histories.write(known.interactions, fitted.folder / "histories")
        file = fitted.folder / "sasrec" / "table.npy"
        table = np.load(file)
        noise = np.random.default_rng(0).normal(size=table.shape).astype(np.float32)
        noise *= np.linalg.norm(table, axis=1).mean() / np.linalg.norm(noise, axis=1, keepdims=True)
        for moved in _MOVED:
            file.unlink()  # a hard link to what is cached
            np.save(file, table + moved * noise)
            found = evaluate(
                fitted.folder, evidence, only_model="sasrec", metric="NDCG@10", new_items_only=True, max_units=_MOST
            ).values
            gain = paired_difference(found, usual.setdefault(moved, found))
            point = mean_interval(found)
            row(
                f"{loss}, vectors moved by {moved:g} of their length",
                f"{point.point:.4f} [{point.low:.4f}, {point.high:.4f}]",
                f"over cross-entropy {gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]; {spent:.0f} CPU-s",
            )


if __name__ == "__main__":
    record("adversarial", __doc__, main)
