"""What the rest has to know of the model ``graph_filter``."""

from vetrina.models.base import Model

MODEL = Model(
    name="graph_filter",
    reason="shoppers with your taste take this",
    hyperparameters={
        "rank": 1_000,
        "low": 0.4,
    },
)
