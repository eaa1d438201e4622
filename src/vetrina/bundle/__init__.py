"""Everything that lies in a bundle, and how bundles are stored.

A format is a folder: ``__init__`` describes its files, ``write`` is for training and ``read`` for serving; no ``read`` imports a
``write``, and only a ``write`` may import training libraries. Encodings of one array or file that several formats use are
modules with both halves: ``bit_packing``, ``dictionary_encoding``, ``elias_fano``, ``zstd_file``. Formats of what one class of
``features`` writes and reads are described there.
"""
