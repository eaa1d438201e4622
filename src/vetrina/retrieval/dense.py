"""Nearest vectors by inner product: exact in 8 bits for small sets, inverted lists above."""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.types import Floats, Ints

_EXACT_UP_TO = 50_000
_LISTS, _PROBES = 1_024, 32


class DenseIndex:
    """Built from ``vectors.npy`` (n, width) float16 on first opening, then kept beside it in memory."""

    def __init__(self, path: Path) -> None:
        self._vectors = np.load(path, mmap_mode="r")
        faiss.omp_set_num_threads(1)
        self._index = _build(self._vectors)

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Row numbers and inner products, best first, at most ``limit``."""
        if not len(self._vectors):
            return np.empty(0, np.int32), np.empty(0, np.float32)
        products, rows = self._index.search(vector[None].astype(np.float32), min(limit, len(self._vectors)))
        found = rows[0] >= 0
        return rows[0][found].astype(np.int32), products[0][found]

    def vector(self, row: int) -> Floats:
        """One stored vector."""
        return self._vectors[row].astype(np.float32)


def _build(vectors: np.ndarray) -> faiss.Index:
    count, width = vectors.shape
    kind = faiss.ScalarQuantizer.QT_8bit
    if count <= _EXACT_UP_TO:
        index = faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_INNER_PRODUCT)
    else:
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(coarse, width, _LISTS, kind, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = _PROBES
    if count:
        data = vectors.astype(np.float32)
        index.train(data)
        index.add(data)
    return index
