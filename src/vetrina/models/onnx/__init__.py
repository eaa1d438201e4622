"""Somebody else's model of a table, brought as an ONNX file."""
