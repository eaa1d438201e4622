"""What beginning at the last run's networks saves, and what it costs.

Complete Journey, sasrec alone. It learns from the past before 2017-12-18 once from nothing and once from what a training on
the past of one day, or of two weeks, before had left. NDCG@10 of 12-18 to the end, all products sold before the cut; paired
95 % bootstrap over households; seed 42.
"""

import shutil
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.record import record, row
from vetrina import Shop
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.tuning_result import TuningResult
from vetrina.data import dataset
from vetrina.demo import write_input_files
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.features import histories
from vetrina.model_selection.budget_planner import plan_training
from vetrina.models.base import costs_of
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

DAY = 86_400.0
TEST, END = (datetime(*d, tzinfo=UTC).timestamp() for d in ((2017, 12, 18), (2018, 2, 1)))


def main() -> None:
    """Seconds of processor and quality, cold and warm."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        source = write_input_files(root / "source")
        snapshot = Shop(root / "shop").ingest(products=source.products, events=source.events)
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None
        test = EvaluationData(targets=dataset.targets(snapshot, catalogue, TEST, END), now=TEST)
        alone = TuningResult({"home": {"sasrec": 1.0}, "discover": {"sasrec": 1.0}})

        def learnt(until: float, work: Path, warm: bool) -> tuple[np.ndarray, float]:
            events = dataset.interactions(snapshot, catalogue, until)
            past = TrainingData(catalogue, events, cache=work / "cache")
            plan = replace(plan_training(costs_of(RECIPE.models), past, TrainingPlan()), warm=warm)
            begun = time.process_time()
            checkpoint, _ = train(
                RECIPE, past, str(until), "judged", plan, work / "judged", NoProgress(), tuning_result=alone
            )
            took = time.process_time() - begun
            if until < TEST:
                return np.empty(0), took
            histories.write(past.interactions, checkpoint.folder / "histories")
            sold = np.zeros(len(catalogue), bool)
            sold[past.interactions.item if past.interactions else []] = True
            return evaluate(checkpoint.folder, test, only_model="sasrec", allowed_items=sold).values, took

        cold, base = learnt(TEST, root / "cold", False)
        interval = mean_interval(cold)
        row("from nothing", f"NDCG@10 {interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}], {base:.0f} CPU-s")
        for days in (1, 14):
            work = root / f"warm{days}"
            learnt(TEST - days * DAY, work, False)
            warm, took = learnt(TEST, work, True)
            gain = paired_difference(warm, cold)
            text = f"{gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], {took:.0f} CPU-s ({took / base:.2f})"
            row(f"from a training {days} days earlier", text)
            shutil.rmtree(work)


if __name__ == "__main__":
    record("warm_start", __doc__, main)
