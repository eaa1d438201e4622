"""What predict is made of: how raw columns become numbers, and the classifiers."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.types import Past, Recipe, Table
from vetrina.features.encoding import Encoding

RECIPE = Recipe(
    scenario="predict",
    models=("mlp", "boosted", "dcn", "tree", "logistic"),
    baselines=("logistic",),
    metric="negative log loss",
)
ANSWERS = "rows"  # nobody is shown an answer: there are no shoppers to share out between two versions
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ()  # no model answers by itself
REPEATABLE = True  # asked again as of then it gives the same answer


def models_for(past: Past) -> tuple[str, ...]:
    """Always all."""
    return RECIPE.models


def prepare(past: Past, into: Path) -> Past:
    """Learn the encoding from these rows alone, keep it, and hand the encoded table to the models."""
    if past.table is None:
        raise ValueError("predict needs a table")
    encoding = Encoding.learn(past.table)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    return Past(rows=encoding.learnt(past.table.columns, positive(past.table, encoding.positive)))


def positive(table: Table, name: str) -> np.ndarray:
    """Labels as 0 and 1."""
    return np.array([str(v) == name for v in table.label.tolist()], np.float32)
