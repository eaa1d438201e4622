"""Nearest vectors by inner product with faiss, memory-mapped."""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.arrays import Floats, Ints


class DenseIndex:
    """The index that ``write_dense_index`` wrote."""

    def __init__(self, path: Path) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if isinstance(self._index, faiss.IndexIVF):
            self._index.make_direct_map()  # where each vector lies, for ``vectors``

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def width(self) -> int:
        """Dimension of the vectors."""
        return self._index.d

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Return row numbers and inner products of the nearest vectors, best first, at most ``limit``."""
        products, rows = self._index.search(vector[None].astype(np.float32), min(limit, len(self)))
        is_found = rows[0] >= 0
        return rows[0][is_found].astype(np.int32), products[0][is_found]

    def vectors(self, rows: Ints) -> Floats:
        """Return the vectors (n, width) of some rows."""
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        return self._index.reconstruct_batch(rows.astype(np.int64))
