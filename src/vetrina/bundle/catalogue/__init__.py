"""The catalogue as arrays that open by memory-mapping; a product's row, its catalogue index, is what models call an item.

- ``ids.npy`` (items,) bytes: product ids in UTF-8, in ascending order.
- ``titles.npy`` (bytes,) uint8: the distinct titles in UTF-8, one after the other.
- ``title_ends`` (titles,) bit-packed: where each of them ends.
- ``title_of`` (items,) bit-packed: number of each product's title.
- ``category`` and ``brand`` (items,) bit-packed: number of each product's value in ``category.json`` and ``brand.json``.
- ``price`` and ``stock`` (items,) dictionary-encoded: float32 where that is exact, else float64; NaN if unknown.
- ``last_seq.npy``: number of the last event of the log that the catalogue knows.
"""
