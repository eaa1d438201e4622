"""Nearest vectors by inner product. The file is memory-mapped.

As it is built: 8 bits a number, exact for small sets, inverted lists above. Made small: products of codes (product quantisation;
Jégou et al. 2011, "Product quantization for nearest neighbor search"; in registers, André et al. 2017, "Quicker ADC") find AGAIN
times as many as are asked for, and their vectors in 6 bits a number put these in order.
"""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.types import Floats, Ints

MIN_PQ_VECTORS = 1_000
REFINE_FACTOR = 4
_MIN_PQ_CANDIDATES = 100  # that codes are asked for: of few they miss more
_MAX_EXACT_VECTORS = 50_000
_MAX_FLAT_PQ_VECTORS = 200_000
_NLIST = 1_024
_NPROBE = 32
# numbers that share a code, and its bits
_DIMENSIONS_PER_CODE = 8
_BITS_PER_CODE = 4
_METRIC = faiss.METRIC_INNER_PRODUCT


def build(vectors: Floats, path: Path) -> None:
    """Write the index of ``vectors`` (n, width), n at least 1. Equal input gives an equal file."""
    count, width = vectors.shape
    faiss.omp_set_num_threads(1)  # the order of sums, and so the file, must not depend on the machine
    kind = faiss.ScalarQuantizer.QT_8bit
    if count <= _MAX_EXACT_VECTORS:
        index = faiss.IndexScalarQuantizer(width, kind, _METRIC)
    else:
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(coarse, width, _NLIST, kind, _METRIC)
        index.nprobe = _NPROBE
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))


def is_compressible(n_vectors: int, width: int) -> bool:
    """Whether so many vectors show what codes to make of them."""
    return n_vectors >= MIN_PQ_VECTORS and width % _DIMENSIONS_PER_CODE == 0


def build_pq(source: Path, path: Path) -> None:
    """Write the small form of what ``build`` wrote, of vectors that it ``fits``. Equal input gives an equal file."""
    index = DenseIndex(source)
    vectors = index.vectors(np.arange(len(index), dtype=np.int32))
    count, width = vectors.shape
    exact = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_6bit, _METRIC)
    if count <= _MAX_FLAT_PQ_VECTORS:
        codes = faiss.IndexPQFastScan(width, width // _DIMENSIONS_PER_CODE, _BITS_PER_CODE, _METRIC)
    else:
        coarse = faiss.IndexFlatIP(width)
        codes = faiss.IndexIVFPQFastScan(coarse, width, _NLIST, width // _DIMENSIONS_PER_CODE, _BITS_PER_CODE, _METRIC)
        codes.nprobe = _NPROBE
    both = faiss.IndexRefine(codes, exact)
    both.k_factor = REFINE_FACTOR
    both.train(vectors)
    both.add(vectors)
    faiss.write_index(both, str(path))


class DenseIndex:
    """Opens what ``build`` or ``shrink`` wrote."""

    def __init__(self, path: Path) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        self._vector_store = self._index
        if isinstance(self._index, faiss.IndexRefine):
            self._vector_store = faiss.downcast_index(self._index.refine_index)
        if isinstance(self._index, faiss.IndexIVF):
            self._index.make_direct_map()  # where each vector lies, for ``vectors``

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._vector_store.d

    def to_index_space(self, vector: Floats) -> Floats:
        """(width,) as ``nearest`` is asked and ``vectors`` are given: as it is."""
        return vector

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Row numbers and inner products, best first, at most ``limit``."""
        asked = max(limit, _MIN_PQ_CANDIDATES) if self._vector_store is not self._index else limit
        products, rows = self._index.search(vector[None].astype(np.float32), min(asked, len(self)))
        found = rows[0] >= 0
        return rows[0][found][:limit].astype(np.int32), products[0][found][:limit]

    def vectors(self, rows: Ints) -> Floats:
        """(n, width) of some rows."""
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        return self._vector_store.reconstruct_batch(rows.astype(np.int64))
