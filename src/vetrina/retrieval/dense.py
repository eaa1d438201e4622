"""Nearest vectors by inner product, 8 bits a number: exact for small sets, inverted lists above. The file is memory-mapped."""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.types import Floats, Ints

_EXACT_UP_TO = 50_000
_LISTS, _PROBES = 1_024, 32
_KIND = faiss.ScalarQuantizer.QT_8bit


def build(vectors: Floats, path: Path) -> None:
    """Write the index of ``vectors`` (n, width), n at least 1. Equal input gives an equal file."""
    count, width = vectors.shape
    faiss.omp_set_num_threads(1)  # the order of sums, and so the file, must not depend on the machine
    if count <= _EXACT_UP_TO:
        index = faiss.IndexScalarQuantizer(width, _KIND, faiss.METRIC_INNER_PRODUCT)
    else:
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(coarse, width, _LISTS, _KIND, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = _PROBES
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))


class DenseIndex:
    """Opens what ``build`` wrote."""

    def __init__(self, path: Path) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if isinstance(self._index, faiss.IndexIVF):
            self._index.make_direct_map()  # where each vector lies, for ``vectors``

    def __len__(self) -> int:
        return self._index.ntotal

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Row numbers and inner products, best first, at most ``limit``."""
        products, rows = self._index.search(vector[None].astype(np.float32), min(limit, len(self)))
        found = rows[0] >= 0
        return rows[0][found].astype(np.int32), products[0][found]

    def vectors(self, rows: Ints) -> Floats:
        """(n, width) of some rows (n,)."""
        if not len(rows):
            return np.empty((0, self._index.d), np.float32)
        return self._index.reconstruct_batch(rows.astype(np.int64))
