"""Models, one folder each: ``train.py`` fits, ``online.py`` scores, ``compress.py`` compresses."""
