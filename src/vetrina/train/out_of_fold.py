"""Out-of-fold predictions: each row of a labelled table is predicted by models that were trained without it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vetrina.core.labelled_tables import Floats, OutOfFoldPredictions
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.data.table_folds import Fold
from vetrina.models.base import find_model


def fit_and_predict(name: str, fold: Fold, plan: TrainingPlan, into: Path) -> Floats:
    """Predictions of the held-out rows of a fold by a model that is fitted on its training rows.

    Args:
        name: Model to fit.
        fold: The fold.
        plan: Seed, threads and hyper-parameters.
        into: Folder of the model's files; replaced if it exists.

    Returns:
        (held-out rows,) probabilities, or numbers in standard units of the fold's training labels.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    training_data = TrainingData(encoded_table=fold.training)
    model = find_model(name)
    model.fit(training_data, plan, into, NoProgress())
    return model.load(into).predict(fold.held_out)


def out_of_fold_predictions(
    names: Sequence[str], folds: Sequence[Fold], plan: TrainingPlan, into: Path, progress: Progress
) -> OutOfFoldPredictions:
    """Predictions of the held-out rows of all folds, by models that are fitted in each fold anew.

    Args:
        names: Models to fit.
        folds: At least one fold.
        plan: Seed, threads and hyper-parameters.
        into: Folder for the files of one model at a time; removed at the end.
        progress: Reports the fits.
    """
    predictions: dict[str, list[Floats]] = {name: [] for name in names}
    with progress.step("out-of-fold predictions", len(folds) * len(names)) as step:
        for fold in folds:
            for name in names:
                prediction = fit_and_predict(name, fold, plan, into)
                predictions[name].append(_in_label_unit(fold, prediction))
                step.advance()
    shutil.rmtree(into, ignore_errors=True)
    table = folds[0].table
    for fold in folds[1:]:
        table = table.append(fold.table)
    return OutOfFoldPredictions(table, {name: np.concatenate(parts) for name, parts in predictions.items()})


def _in_label_unit(fold: Fold, prediction: Floats) -> Floats:
    """Predictions (rows,) in the table's own unit, which is the same in all folds."""
    scaler = fold.training.label_scaler
    if scaler is None:
        return prediction
    return scaler.inverse_transform(prediction).astype(np.float32)
