"""What the rest has to know of the model ``bm25``."""

from vetrina.models.base import Model

MODEL = Model(
    name="bm25",
    reason="holds the words you typed",
)
