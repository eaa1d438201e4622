"""What predict is made of: how raw columns become numbers, and the classifiers."""

from pathlib import Path

import msgspec

from vetrina.core.types import Recipe, TrainingData
from vetrina.features.table_encoding import TableEncoding, is_regression_label

RECIPE = Recipe(
    scenario="predict",
    models=("mlp", "boosted", "dcn", "tree", "logistic", "ridge"),
    baselines=("logistic", "ridge"),
    metric="negative log loss",
)
ANSWER_KIND = "rows"  # nobody is shown an answer: there are no shoppers to share out between two versions
DROPS_UNWEIGHTED_MODELS = True  # a bundle may lack models that weigh nothing
ALWAYS_FITTED = ()  # no model answers by itself


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """All, but of the two linear models the one that suits the label."""
    unfit = "logistic" if training_data.table is not None and is_regression_label(training_data.table) else "ridge"
    return tuple(m for m in RECIPE.models if m != unfit)


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Learn the encoding from these rows alone, keep it, and hand the encoded table to the models."""
    if training_data.table is None:
        raise ValueError("predict needs a table")
    encoding = TableEncoding.fit(training_data.table)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    return TrainingData(
        encoded_table=encoding.encode_training_rows(
            training_data.table.columns, encoding.encode_labels(training_data.table.label)
        )
    )
