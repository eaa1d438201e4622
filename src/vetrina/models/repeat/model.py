"""What the rest has to know of the model ``repeat``."""

from vetrina.models.base import Model

MODEL = Model(
    name="repeat",
    reason="you take this often",
)
