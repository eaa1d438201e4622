"""What the rest has to know of the model ``fusion``."""

from vetrina.models.base import Model

MODEL = Model(
    name="fusion",
    reason="like what you looked at",
    hyperparameters={
        "width": 128.0,
        "id_dropout": 0.5,
    },
)
