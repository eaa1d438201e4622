"""What the rest has to know of the model ``drill``."""

from vetrina.models.base import Model

MODEL = Model(
    name="drill",
    reason="a drill",
)
