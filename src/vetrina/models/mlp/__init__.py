"""Multi-layer perceptron for a labelled table."""
