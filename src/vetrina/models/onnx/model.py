"""What the rest has to know of the model ``onnx``."""

from vetrina.models.base import Model

MODEL = Model(name="onnx", is_external=True)
