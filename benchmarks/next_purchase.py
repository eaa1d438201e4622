"""Next purchase on Complete Journey, under a pinned protocol.

Tune on fit < 2017-12-04, validate 12-04 to 12-17; then fit < 12-18, test 12-18 to the end. Rank the products sold before
the cut; unsold targets count as missed; binary NDCG with ideal min(10, targets); ties at half rank; seed 42; 95 % bootstrap.
"""

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.record import heading, note, row
from vetrina import Shop
from vetrina.compress import compress
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset
from vetrina.demo import write_input_files
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

VALIDATION, TEST, END = (datetime(*d, tzinfo=UTC).timestamp() for d in ((2017, 12, 4), (2017, 12, 18), (2018, 2, 1)))
REFERENCES = {
    "popular": "measured elsewhere: .145, new .032",
    "personal frequency, decayed": "measured elsewhere: .329 (EASE .303, new .033; ALS .163)",
}
_NEXT_TO_NOTHING = 1e-9  # a model without weight is not fitted again, but here it is shown


def main() -> None:
    """Every model of the recipe, the blend in float and in int8, on all products and on new ones."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        source = write_input_files(root / "source")
        snapshot = Shop(root / "shop").ingest(products=source.products, events=source.events)
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None

        def past(until: float) -> TrainingData:
            return TrainingData(catalogue, dataset.interactions(snapshot, catalogue, until), cache=root / "cache")

        def evidence(since: float, until: float) -> EvaluationData:
            return EvaluationData(targets=dataset.targets(snapshot, catalogue, since, until), now=since)

        holdout = evidence(VALIDATION, TEST)
        plan = TrainingPlan()
        fitted, tuned = train(
            RECIPE, past(VALIDATION), "pinned", "fit", plan, root / "w/fit", NoProgress(), validation=holdout
        )
        small = compress(fitted, past(VALIDATION), plan, root / "w/fit-small", NoProgress(), validation=holdout)
        plan = replace(plan, settings=tuned.settings)
        final = past(TEST)
        weights = {b: {m: w or _NEXT_TO_NOTHING for m, w in ws.items()} for b, ws in tuned.weights.items()}
        every = replace(tuned, weights=weights)
        judged, _ = train(
            RECIPE,
            final,
            "pinned",
            "judged",
            plan,
            root / "w/judged",
            NoProgress(),
            tuning_result=every,
            trees_source=root / "w/fit",
        )
        packed = compress(
            judged, final, plan, root / "w/judged-small", NoProgress(), repeat_variants=small.kept_variants
        )
        for name, chosen in tuned.weights.items():
            note(f"{name}: {chosen}")
        note(f"kept compression: {small.kept_variants}; settings: {tuned.settings}")
        test = evidence(TEST, END)
        sold = np.zeros(len(catalogue), bool)
        sold[final.interactions.item if final.interactions else []] = True
        note(f"products ranked: {int(sold.sum())}")
        frequency = root / "w/frequency"
        shutil.copytree(judged.folder, frequency)
        np.save(frequency / "repeat/loyalty.npy", np.ones(len(catalogue), np.float32))
        forms = {"float": judged.folder, "int8": packed.folder}
        for new_only in (False, True):
            heading("products new to the household" if new_only else "all products")
            baselines: dict[str, tuple[Path, str | None]] = {"personal frequency, decayed": (frequency, "repeat")}
            for model in (*judged.notes, None):
                for form, folder in (
                    forms.items() if model is None or model in small.kept_variants else [("", judged.folder)]
                ):
                    baselines[f"{model or 'blend'} {form}".strip()] = (folder, model)
            for what, (folder, model) in baselines.items():
                _score(what, folder, model, frequency, test, new_only, sold)


def _score(
    what: str, folder: Path, model: str | None, frequency: Path, test: EvaluationData, new_only: bool, sold: np.ndarray
) -> None:
    columns = []
    reference = REFERENCES.get(what, "")
    for metric in ("NDCG@10", "Recall@20"):
        scores = evaluate(folder, test, only_model=model, metric=metric, new_items_only=new_only, allowed_items=sold)
        interval = mean_interval(scores.values)
        columns.append(f"{metric} {interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
        if metric == "NDCG@10" and not new_only and model is None:
            base = evaluate(frequency, test, only_model="repeat", allowed_items=sold)
            gain = paired_difference(scores.values, base.values)
            reference = f"over personal frequency {gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    row(f"{what} ({len(scores.unit_ids)} households)", ", ".join(columns), "" if new_only and model else reference)
