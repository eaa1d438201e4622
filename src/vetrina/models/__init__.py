"""One folder a model: ``train.py`` learns, ``online.py`` scores with numpy and ONNX Runtime, ``compress.py`` shrinks."""
