"""What the rest has to know of the model ``sessions``."""

from vetrina.models.base import Model

MODEL = Model(
    name="sessions",
    reason="visits that went like yours went on to this",
    hyperparameters={
        "fade": 0.6,
        "recency": 1.5,
        "neighbours": 500,
    },
)
