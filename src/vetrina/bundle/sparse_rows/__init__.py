"""Rows of a sparse matrix, such as the strongest neighbours of each item, of which some are summed with weights.

- ``n_columns.npy``: number of columns.

As fitted, in CSR, best first:

- ``starts.npy`` (rows + 1,) int64, ``items.npy`` int32 columns, ``values.npy`` float32.

Compressed, by column:

- ``items`` (rows lists) Elias-Fano: columns of each row.
- ``values.npy`` uint8: 1 to 255, in the order of ``items``.
- ``scales.npy`` float32: of each row that is not empty, what a value of 1 stands for.
"""
