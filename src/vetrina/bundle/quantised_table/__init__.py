"""A table of vectors in int8 or int4, on disk once: its ONNX graph maps the bytes from which single rows are read.

- ``table.bin``: int8 (width, rows), or int4 (rows, blocks, block / 2) as ``int4.quantise`` packs it.
- ``scales.npy`` float32: (rows,) of int8, (rows, blocks) of int4.
- ``score.onnx``: inner products (n, rows) of ``queries`` (n, width) with every row.
"""
