"""Prediction from tables beside a tuned LightGBM and AutoGluon.

Criteo, raw 8,000 rows: 20 % (seed 42, the product's own split) are held out. Each has the other 6,400 rows and three minutes
of one core. ``predict``: the path of the command line with default settings and that budget. LightGBM: Optuna (TPE, seed 42)
until three CPU-minutes are spent, five-fold cross-validation with early stopping and median pruning, over leaves, rows per
leaf, shares of columns and rows, L2 penalty, learning rate and the columns (raw with native categories, or encoded as
``predict`` does, in each fold anew), then one fit on all rows. AutoGluon: ``best_quality`` with log loss, run by the Python
that ``VETRINA_BENCH_AUTOGLUON`` names; its time limit is stretched by the share of a core that LightGBM got just before. 95 %
bootstrap over rows.
"""

import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina import Shop
from vetrina.core.labelled_tables import EncodedTable, LabelledTable
from vetrina.core.protocols import DataSplits
from vetrina.data.table_folds import MAX_FOLDS, encode_folds
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.evaluation.classification import log_loss, roc_auc
from vetrina.features.table_encoding import TableEncoding

_MINUTES = 3.0
_SECONDS = 60.0 * _MINUTES
_THREADS = 1
_SEED = 42
_MAX_TREES = 2_000
_PATIENCE = 50  # trees without a smaller loss
_AUTOGLUON = "VETRINA_BENCH_AUTOGLUON"


def main() -> None:
    """The product first, because its split is everyone's."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shop = _shop(root)
        predicted = _timed("predict", lambda: _predict(shop))
        training, test = _rows(shop)
        label = (test.label > 0.5).astype(np.float32)
        probabilities = {"predict": predicted}
        begun = time.perf_counter()
        tuned = _timed("tuned LightGBM", lambda: _tuned_lightgbm(shop, training, test))
        probabilities["tuned LightGBM"] = tuned
        time_limit = time.perf_counter() - begun  # three minutes on an idle machine
        python = os.environ.get(_AUTOGLUON, "")
        if python:
            reference = _timed("AutoGluon", lambda: _autogluon(python, training, test, root, time_limit))
            probabilities["AutoGluon best_quality"] = reference
        else:
            note(f"AutoGluon was not measured: {_AUTOGLUON} names no Python that has it.")
        for name, values in probabilities.items():
            loss = mean_interval(log_loss(label, values))
            figure = f"{loss.point:.4f} [{loss.low:.4f}, {loss.high:.4f}], AUC {roc_auc(label, values):.4f}"
            row(f"Criteo, {len(label):,} held-out rows, {name}: log loss", figure)
        for name, values in probabilities.items():
            if name != "predict":
                gain = paired_difference(log_loss(label, values), log_loss(label, predicted))
                figure = f"{gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
                row(f"log loss of {name} less that of predict", figure, "above 0")


def _shop(root: Path) -> Shop:
    """A shop with the table alone."""
    frame = pl.read_parquet(folder("criteo-samples") / "raw_8k.parquet").drop("source_split")
    frame.write_csv(root / "clicks.csv")
    (root / "shop").mkdir()
    (root / "shop" / "vetrina.toml").write_text(f"[train]\nthreads = {_THREADS}\n")
    shop = Shop(root / "shop")
    shop.ingest(table=root / "clicks.csv", label="label")
    return shop


def _predict(shop: Shop) -> np.ndarray:
    """Probabilities of the held-out rows by what was released."""
    release = shop.fit("predict", budget_minutes=_MINUTES)["predict"]
    assert release is not None
    tuned = shop.shop_context.registry.get_version(release.version).training.tuning
    tuning = tuned.report
    note(f"predict: {release.outcome}; weights {tuned.weights['predict']}; settings {tuned.settings}")
    _note_rounded(f"predict, on {tuning['rows']:,} rows out of fold: {tuning['out_of_fold_log_loss']}")
    plan = tuning["plan"]
    _note_rounded(f"predict, plan: {plan['folds']} folds, trials {plan['trials']}; {tuning.get('search')}")
    _, test = _rows(shop)
    return shop.load("predict").predict(test.columns)


def _rows(shop: Shop) -> tuple[LabelledTable, LabelledTable]:
    """Rows to learn from, and those held out."""
    splits = _splits(shop)
    training = splits.judged_data().table
    test = splits.holdout().table
    assert training is not None
    assert test is not None
    return training, test


def _splits(shop: Shop) -> DataSplits:
    """The splits of the one version."""
    version = shop.shop_context.registry.list_versions()[0].version
    return shop.splits(shop.shop_context.registry.get_version(version))


def _tuned_lightgbm(shop: Shop, training: LabelledTable, test: LabelledTable) -> np.ndarray:
    """Probabilities of the test rows."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fit, validation = _splits(shop).fit_and_validation()
    assert fit.table is not None
    assert validation is not None
    assert validation.table is not None
    folds = encode_folds(fit.table, validation.table, MAX_FOLDS, _SEED)

    def objective(trial: optuna.Trial) -> float:
        settings = _lightgbm_settings(trial)
        inputs = trial.suggest_categorical("inputs", ["raw", "encoded"])
        losses = []
        n_trees = []
        for number, fold in enumerate(folds):
            train_set, held_out = _data_sets(inputs, fold.training, fold.held_out)
            early_stopping = lightgbm.early_stopping(_PATIENCE, verbose=False)
            trees = lightgbm.train(settings, train_set, _MAX_TREES, [held_out], callbacks=[early_stopping])
            losses.append(trees.best_score["valid_0"]["binary_logloss"])
            n_trees.append(trees.best_iteration)
            trial.report(float(np.mean(losses)), number)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("trees", float(np.mean(n_trees)))
        trial.set_user_attr("settings", settings)
        return float(np.mean(losses))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=_SEED))
    last_moment = time.process_time() + _SECONDS

    def stop_in_time(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if time.process_time() > last_moment:
            study.stop()

    study.optimize(objective, callbacks=[stop_in_time])
    best = study.best_trial
    _note_rounded(f"LightGBM: {len(study.trials)} trials, out of fold {best.value:.4f}, {best.params}")
    n_trees = round(best.user_attrs["trees"] * MAX_FOLDS / (MAX_FOLDS - 1))
    encoding = TableEncoding.fit(training)
    encoded = encoding.encode_training_rows(training.columns, encoding.encode_labels(training.label))
    train_set, _ = _data_sets(best.params["inputs"], encoded, encoded)
    trees = lightgbm.train(best.user_attrs["settings"], train_set, n_trees)
    return np.asarray(trees.predict(_inputs(best.params["inputs"], encoded, encoding.encode(test.columns))))


def _lightgbm_settings(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "objective": "binary",
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 64, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.1, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "bagging_freq": 1,
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        "seed": _SEED,
        "num_threads": _THREADS,
        "verbose": -1,
    }


def _data_sets(
    inputs: str, training: EncodedTable, held_out: EncodedTable
) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    """Training and held-out rows, ``raw`` or ``encoded``."""
    categories: Any = "auto"
    if inputs == "raw":
        categories = [n for n, values in enumerate(training.raw_columns.values()) if values.dtype == object]
    x = _inputs(inputs, training, training)
    train_set = lightgbm.Dataset(x, training.label, categorical_feature=categories, params={"verbose": -1})
    return train_set, train_set.create_valid(_inputs(inputs, training, held_out), held_out.label)


def _inputs(inputs: str, training: EncodedTable, rows: EncodedTable) -> np.ndarray:
    """(rows, columns) encoded columns, or numbers and numbers of categories; a missing or unseen one is NaN.

    Args:
        inputs: ``raw`` or ``encoded``.
        training: Rows that number the categories.
        rows: Rows of the matrix.
    """
    if inputs == "encoded":
        return rows.dense
    columns = []
    for name, values in training.raw_columns.items():
        column = rows.raw_columns[name]
        if values.dtype == object:
            distinct = sorted({value for value in values if value is not None})
            categories = {value: number for number, value in enumerate(distinct)}
            column = np.array([categories.get(value, np.nan) for value in column], float)
        columns.append(column)
    return np.column_stack(columns)


def _autogluon(python: str, training: LabelledTable, test: LabelledTable, root: Path, time_limit: float) -> np.ndarray:
    """Probabilities of the test rows, computed by another Python.

    Args:
        python: Its path.
        training: Rows to learn from.
        test: Rows to predict.
        root: Folder for the files that both Pythons read.
        time_limit: Seconds of wall time.
    """
    _frame(training).with_columns(label=pl.Series(training.label > 0.5).cast(pl.Int8)).write_parquet(root / "a.parquet")
    _frame(test).write_parquet(root / "b.parquet")
    tool = Path(__file__).with_name("autogluon_tool.py")
    arguments = [root / "a.parquet", root / "b.parquet", "label", time_limit, _THREADS, root / "out.npy"]
    done = subprocess.run(
        [python, str(tool), *map(str, arguments)], capture_output=True, text=True, check=True, cwd=root
    )
    _note_rounded(f"AutoGluon: {' / '.join(' '.join(line.split()) for line in done.stdout.splitlines()[-6:])}")
    return np.load(root / "out.npy")


def _frame(table: LabelledTable) -> pl.DataFrame:
    columns = {}
    for name, values in table.columns.items():
        dtype = pl.Float64
        if values.dtype == object:
            dtype = pl.String
        columns[name] = pl.Series(values.tolist(), dtype=dtype)
    return pl.DataFrame(columns)


def _note_rounded(text: str) -> None:
    """Notes a text, its long numbers with four decimals."""
    note(re.sub(r"-?\d+\.\d{5,}", lambda match: f"{float(match[0]):.4f}", text))


def _timed(name: str, measured: Callable[[], np.ndarray]) -> np.ndarray:
    """What ``measured`` returns; its wall and CPU seconds are a row."""
    begun = time.perf_counter()
    worked = _cpu_seconds()
    measurements = measured()
    row(f"{name}: seconds / CPU-seconds", f"{time.perf_counter() - begun:.0f} / {_cpu_seconds() - worked:.0f}")
    return measurements


def _cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


if __name__ == "__main__":
    record("tuned_tables", __doc__, main)
