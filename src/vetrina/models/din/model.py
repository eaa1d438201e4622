"""What the rest has to know of the model ``din``."""

from vetrina.models.base import Model

MODEL = Model(
    name="din",
    hyperparameters={
        "rate": 1e-3,
        "penalty": 1e-3,
    },
)
