"""Dense vector index with faiss: 8-bit flat or IVF, or product quantisation (Jégou et al. 2011).

It finds the nearest vectors by inner product; the file is memory-mapped. As built it has 8 bits a number, exhaustive search for
small sets and inverted lists above. Compressed, product quantisation ("Product quantization for nearest neighbor search"; in
registers, André et al. 2017, "Quicker ADC") finds REFINE_FACTOR times as many candidates as are requested, and their vectors in 6
bits a number re-rank them.
"""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.types import Floats, Ints

MIN_PQ_VECTORS = 1_000
REFINE_FACTOR = 4
_MIN_PQ_CANDIDATES = 100  # at least so many are requested of the codes, which miss more of few
_MAX_EXACT_VECTORS = 50_000
_MAX_FLAT_PQ_VECTORS = 200_000
_NLIST = 1_024
_NPROBE = 32
_DIMENSIONS_PER_CODE = 8
_BITS_PER_CODE = 4
_METRIC = faiss.METRIC_INNER_PRODUCT


def build(vectors: Floats, path: Path) -> None:
    """Write an index of ``vectors`` (n, width), n at least 1. Equal input gives an equal file."""
    count, width = vectors.shape
    faiss.omp_set_num_threads(1)  # the order of sums, and so the file, must not depend on the machine
    quantiser = faiss.ScalarQuantizer.QT_8bit
    if count <= _MAX_EXACT_VECTORS:
        index = faiss.IndexScalarQuantizer(width, quantiser, _METRIC)
    else:
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(coarse, width, _NLIST, quantiser, _METRIC)
        index.nprobe = _NPROBE
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))


def is_compressible(n_vectors: int, width: int) -> bool:
    """Return whether there are enough vectors to train product quantisation, and codes divide the width."""
    return n_vectors >= MIN_PQ_VECTORS and width % _DIMENSIONS_PER_CODE == 0


def build_pq(source: Path, path: Path) -> None:
    """Write the product-quantised form of what ``build`` wrote, if it ``is_compressible``. Equal input gives an equal file."""
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
    refined = faiss.IndexRefine(codes, exact)
    refined.k_factor = REFINE_FACTOR
    refined.train(vectors)
    refined.add(vectors)
    faiss.write_index(refined, str(path))


class DenseIndex:
    """The index that ``build`` or ``build_pq`` wrote."""

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
        """Dimension of the vectors."""
        return self._vector_store.d

    def to_index_space(self, vector: Floats) -> Floats:
        """Return a query vector (width,) in the space of ``nearest`` and ``vectors``: unchanged."""
        return vector

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Return row numbers and inner products of the nearest vectors, best first, at most ``limit``."""
        n_candidates = max(limit, _MIN_PQ_CANDIDATES) if self._vector_store is not self._index else limit
        products, rows = self._index.search(vector[None].astype(np.float32), min(n_candidates, len(self)))
        is_found = rows[0] >= 0
        return rows[0][is_found][:limit].astype(np.int32), products[0][is_found][:limit]

    def vectors(self, rows: Ints) -> Floats:
        """Return the vectors (n, width) of some rows."""
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        return self._vector_store.reconstruct_batch(rows.astype(np.int64))
