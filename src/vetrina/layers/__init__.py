"""Building blocks that several models train with: matrices of a log, network training, distillation and ONNX export.

Training side only.
"""
