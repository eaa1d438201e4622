"""Gradient-boosted trees as an ONNX TreeEnsembleRegressor."""
