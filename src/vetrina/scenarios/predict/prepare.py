"""The column encoding of predict, and the models that the data supports."""

from pathlib import Path

import msgspec

from vetrina.core.types import TrainingData
from vetrina.features.table_encoding import TableEncoding, is_regression_label
from vetrina.scenarios.predict.scenario import RECIPE


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """All models but the linear one for the other kind of label: ridge for numbers, logistic for yes or no."""
    is_regression = training_data.table is not None and is_regression_label(training_data.table)
    unsuitable = "logistic" if is_regression else "ridge"
    return tuple(model for model in RECIPE.models if model != unsuitable)


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Fit the encoding on the training rows alone and write it; returns the encoded table for the models.

    Raises:
        ValueError: there is no table.
    """
    table = training_data.table
    if table is None:
        raise ValueError("predict needs a table")
    encoding = TableEncoding.fit(table)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    labels = encoding.encode_labels(table.label)
    return TrainingData(encoded_table=encoding.encode_training_rows(table.columns, labels))
