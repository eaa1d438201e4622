"""What the rest has to know of the model ``text``."""

from vetrina.models.base import Model
from vetrina.models.text.cost import QueryEncoderCost
from vetrina.nn.hyperparameters import FINE_TUNING

MODEL = Model(
    name="text",
    reason="means what you asked for",
    cost=QueryEncoderCost(),
    hyperparameters={
        "epochs": 0,
        "stop": 0,
        **FINE_TUNING,
        "trainable_layers": 3,
        "rate": 2e-5,
        "temperature": 0.05,
        "made": 0,
        "teacher": 0,
        "margin": 0.1,
    },
)
