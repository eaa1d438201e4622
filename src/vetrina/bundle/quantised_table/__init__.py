"""Tables of vectors with 4-bit weights, multiplied by ONNX Runtime's MatMulNBits."""
