"""Tables: women's clothing reviews (text and table, yes or no and stars) and Criteo's clicks, with default settings.

Reviews: the command line's own path; 20 % of the rows (seed 42) are held out for the end, ``rating`` is left out; beside it
LightGBM on the same columns, text as TF-IDF, learnt from the same 80 %. Stars: ``rating`` from 1 to 5 as a number, in the same
way, without ``recommended_ind``. Criteo, raw 8,000 rows: five folds by chance (seed 42);
each model, their mean and what validation chose inside each fold's training rows. 95 % bootstrap over rows.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina import Shop
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.evaluation.classification import calibration_error, classification_metrics, log_loss, roc_auc
from vetrina.evaluation.regression import regression_metrics, squared_error
from vetrina.model_selection.ensemble_weights import weighted_mean
from vetrina.models.base import find_model
from vetrina.scenarios.predict.online import Predictor
from vetrina.scenarios.predict.prepare import prepare
from vetrina.scenarios.predict.scenario import RECIPE
from vetrina.train import train

_FOLDS = 5
_DRAWS = 500


def main() -> None:
    """All three."""
    with tempfile.TemporaryDirectory() as scratch:
        _reviews(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        _stars(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        _clicks(Path(scratch))


def _reviews(root: Path) -> None:
    opened, judged, test = _fitted(root, "recommended_ind", "rating")
    label = opened.encoding.encode_labels(test.label)
    probability = opened.predict(test.columns)
    reference = _alone("boosted", judged, root / "alone").predict(test.columns)
    for name, value in classification_metrics(label, probability, opened.threshold).items():
        row(
            f"reviews, {' + '.join(opened.active_models)}: {name}",
            f"{value.point:.4f} [{value.low:.4f}, {value.high:.4f}]",
            "",
        )
    gain = _gain(label, probability, reference)
    row("reviews: AUC less that of LightGBM on table and TF-IDF", gain, f"LightGBM {roc_auc(label, reference):.4f}")


def _stars(root: Path) -> None:
    opened, judged, test = _fitted(root, "rating", "recommended_ind")
    scale = opened.encoding.number
    assert scale is not None
    label = test.label
    predictions = scale.inverse_transform(opened.predict(test.columns))
    reference = scale.inverse_transform(_alone("boosted", judged, root / "alone").predict(test.columns))
    for name, value in regression_metrics(label, predictions).items():
        row(
            f"stars, {' + '.join(opened.active_models)}: {name}",
            f"{value.point:.4f} [{value.low:.4f}, {value.high:.4f}]",
            "",
        )
    gain = paired_difference(-squared_error(label, predictions), -squared_error(label, reference))
    text = f"{gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    row(
        "stars: squared error less than LightGBM's",
        text,
        f"RMSE {regression_metrics(label, reference)['RMSE'].point:.4f}",
    )


def _fitted(root: Path, label: str, dropped: str) -> tuple[Predictor, LabelledTable, LabelledTable]:
    """What was released, the rows that it learnt from, and those held out."""
    frame = pl.read_parquet(folder("womens-clothing-reviews") / "reviews.parquet").drop(dropped)
    frame.write_csv(root / "reviews.csv")
    shop = Shop(root / "shop")
    shop.ingest(table=root / "reviews.csv", label=label)
    begun = time.perf_counter()
    worked = _cpu()
    release = shop.fit("predict")["predict"]
    assert release is not None
    note(f"{release.outcome}: {_cpu() - worked:.0f} CPU-s, {time.perf_counter() - begun:.0f} s")
    version = shop.shop_context.registry.get_version(release.version)
    compression = [(trial.model, trial.kept, trial.why) for trial in version.training.compression_trials]
    note(f"{version.training.tuning.report} {compression}")
    splits = shop.splits(version)
    judged = splits.judged_data().table
    test = splits.holdout().table
    assert judged is not None
    assert test is not None
    return shop.load("predict"), judged, test


def _alone(name: str, table: LabelledTable, into: Path) -> Predictor:
    """One model learnt from all of a table."""
    into.mkdir()
    encoded = prepare(TrainingData(table=table), into)
    (into / name).mkdir()
    find_model(name).fit(encoded, TrainingPlan(), into / name, NoProgress())
    (into / "scenario.json").write_text(f'{{"models": ["{name}"], "weights": {{"predict": {{"{name}": 1.0}}}}}}')
    return Predictor(into)


def _clicks(root: Path) -> None:
    frame = pl.read_parquet(folder("criteo-samples") / "raw_8k.parquet").drop("source_split")
    columns = {
        c: frame[c].cast(pl.Float64).fill_null(np.nan).to_numpy()
        if frame.schema[c].is_numeric()
        else np.array(frame[c].to_list(), dtype=object)
        for c in frame.columns
        if c != "label"
    }
    table = LabelledTable(columns, frame["label"].cast(pl.Float64).to_numpy())
    fold = np.random.default_rng(42).permutation(len(table)) % _FOLDS
    probabilities: dict[str, np.ndarray] = {}
    label = (table.label > 0.5).astype(np.float32)
    worked = _cpu()
    for number in range(_FOLDS):
        rest = np.flatnonzero(fold != number)
        test = np.flatnonzero(fold == number)
        is_validation = np.random.default_rng(number).random(len(rest)) < 0.2
        past = TrainingData(table=table.take(rest[~is_validation]))
        evidence = EvaluationData(table=table.take(rest[is_validation]))
        work = root / f"{number}"
        _, tuned = train(RECIPE, past, "pinned", "fit", TrainingPlan(), work / "fit", NoProgress(), validation=evidence)
        judged, _ = train(
            RECIPE,
            TrainingData(table=table.take(rest)),
            "pinned",
            "judged",
            TrainingPlan(),
            work / "judged",
            NoProgress(),
        )
        opened = Predictor(judged.folder)
        columns_of = table.take(test).columns
        each = opened.predictions_by_model(columns_of, opened.models)
        weights = tuned.weights["predict"]
        three = {name: each[name] for name in ("logistic", "boosted", "dcn")}
        chosen = weighted_mean(each, weights)
        each |= {"mean of logistic, boosted and dcn": weighted_mean(three, dict.fromkeys(three, 1.0))}
        each |= {"what validation chose": chosen}
        note(f"fold {number}: {weights}, {tuned.report['out_of_fold_log_loss']}")
        for name, probability in each.items():
            probabilities.setdefault(name, np.zeros(len(table), np.float32))[test] = probability
    note(f"{_cpu() - worked:.0f} CPU-s")
    for name, probability in probabilities.items():
        loss = mean_interval(log_loss(label, probability))
        text = f"AUC {roc_auc(label, probability):.4f}, log loss {loss.point:.4f} [{loss.low:.4f}, {loss.high:.4f}]"
        row(f"clicks, {name}", f"{text}, ECE {calibration_error(label, probability):.4f}", "")
    best = probabilities["what validation chose"]
    usual = probabilities["mean of logistic, boosted and dcn"]
    better = paired_difference(-log_loss(label, best), -log_loss(label, usual))
    row(
        "clicks: less log loss than the mean", f"{better.point:+.4f} [{better.low:+.4f}, {better.high:+.4f}]", "above 0"
    )
    rng = np.random.default_rng(42)
    perfect = [calibration_error((rng.random(len(best)) < best).astype(np.float32), best) for _ in range(_DRAWS)]
    row("clicks: ECE of a perfectly calibrated model", f"95 % below {np.quantile(perfect, 0.95):.4f}", "15 bins")


def _gain(label: np.ndarray, candidate: np.ndarray, reference: np.ndarray) -> str:
    rng = np.random.default_rng(42)
    differences = []
    for _ in range(_DRAWS):
        rows = rng.integers(0, len(label), len(label))
        differences.append(roc_auc(label[rows], candidate[rows]) - roc_auc(label[rows], reference[rows]))
    low, high = np.quantile(differences, [0.025, 0.975])
    return f"{roc_auc(label, candidate) - roc_auc(label, reference):+.4f} [{low:+.4f}, {high:+.4f}]"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    record("tables", __doc__, main)
