"""What the rest has to know of the model ``reach``."""

from vetrina.models.base import Model

MODEL = Model(
    name="reach",
    hyperparameters={
        "rate": 0.05,
        "leaves": 31,
        "least": 50,
        "columns": 0.6,
        "penalty": 5.0,
    },
)
