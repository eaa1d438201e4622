"""Gradient-boosted trees in one ONNX file: a TreeEnsembleRegressor from ``features`` (n, width) to ``scores`` (n, 1)."""
