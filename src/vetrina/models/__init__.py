"""Models, one folder each: ``model.py`` declares, ``train.py`` fits, ``online.py`` scores, ``compress.py`` compresses."""
