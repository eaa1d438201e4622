"""External model of a labelled table, an ONNX file of the shop."""
