"""What predict is made of: how raw columns become numbers, and the classifiers."""

from pathlib import Path

import msgspec

from vetrina.core.types import Past, Recipe
from vetrina.features.encoding import Encoding, is_number

RECIPE = Recipe(
    scenario="predict",
    models=("mlp", "boosted", "dcn", "tree", "logistic", "ridge"),
    baselines=("logistic", "ridge"),
    metric="negative log loss",
)
ANSWERS = "rows"  # nobody is shown an answer: there are no shoppers to share out between two versions
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ()  # no model answers by itself


def models_for(past: Past) -> tuple[str, ...]:
    """All, but of the two linear models the one that suits the label."""
    unfit = "logistic" if past.table is not None and is_number(past.table) else "ridge"
    return tuple(m for m in RECIPE.models if m != unfit)


def prepare(past: Past, into: Path) -> Past:
    """Learn the encoding from these rows alone, keep it, and hand the encoded table to the models."""
    if past.table is None:
        raise ValueError("predict needs a table")
    encoding = Encoding.learn(past.table)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    return Past(rows=encoding.learnt(past.table.columns, encoding.truth(past.table.label)))
