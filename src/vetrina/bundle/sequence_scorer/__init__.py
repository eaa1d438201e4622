"""A next-item model: a sequence encoder and the vectors of the items that had events.

- ``has_row.npy`` (items,) bool: which items have a row in the table; rows are in the order of the items.
- ``table.npy`` (rows, width) float32, or the same vectors as a ``quantised_table``.
- ``norms.npy`` (rows,) float32: Euclidean norms of the float rows.
- ``encoder.onnx``: from ``items`` (1, length, width) and ``gaps`` (1, length) to user vectors (1, length, width).
- ``settings.json``: the hyper-parameters, of which scoring needs ``temperature`` and ``length``.
"""
