"""Models, one folder each: ``train.py`` fits, ``online.py`` scores with NumPy and ONNX Runtime, ``compress.py`` compresses."""
