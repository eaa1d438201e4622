"""Nearest vectors by inner product. The file is memory-mapped.

As it is built: 8 bits a number, exact for small sets, inverted lists above. Made small: products of codes (product quantisation;
Jégou et al. 2011, "Product quantization for nearest neighbor search"; in registers, André et al. 2017, "Quicker ADC") find AGAIN
times as many as are asked for, and their vectors in 6 bits a number put these in order.
"""

from pathlib import Path

import faiss
import numpy as np

from vetrina.core.types import Floats, Ints

LEAST, AGAIN = 1_000, 4
_FEWEST = 100  # that codes are asked for: of few they miss more
_EXACT_UP_TO, _CODED_UP_TO = 50_000, 200_000
_LISTS, _PROBES = 1_024, 32
_CODED, _BITS = 8, 4  # numbers that share a code, and its bits
_METRIC = faiss.METRIC_INNER_PRODUCT


def build(vectors: Floats, path: Path) -> None:
    """Write the index of ``vectors`` (n, width), n at least 1. Equal input gives an equal file."""
    count, width = vectors.shape
    faiss.omp_set_num_threads(1)  # the order of sums, and so the file, must not depend on the machine
    kind = faiss.ScalarQuantizer.QT_8bit
    if count <= _EXACT_UP_TO:
        index = faiss.IndexScalarQuantizer(width, kind, _METRIC)
    else:
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(coarse, width, _LISTS, kind, _METRIC)
        index.nprobe = _PROBES
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))


def fits(count: int, width: int) -> bool:
    """Whether so many vectors show what codes to make of them."""
    return count >= LEAST and width % _CODED == 0


def shrink(source: Path, path: Path) -> None:
    """Write the small form of what ``build`` wrote, of vectors that it ``fits``. Equal input gives an equal file."""
    index = DenseIndex(source)
    vectors = index.vectors(np.arange(len(index), dtype=np.int32))
    count, width = vectors.shape
    exact = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_6bit, _METRIC)
    if count <= _CODED_UP_TO:
        codes = faiss.IndexPQFastScan(width, width // _CODED, _BITS, _METRIC)
    else:
        coarse = faiss.IndexFlatIP(width)
        codes = faiss.IndexIVFPQFastScan(coarse, width, _LISTS, width // _CODED, _BITS, _METRIC)
        codes.nprobe = _PROBES
    both = faiss.IndexRefine(codes, exact)
    both.k_factor = AGAIN
    both.train(vectors)
    both.add(vectors)
    faiss.write_index(both, str(path))


class DenseIndex:
    """Opens what ``build`` or ``shrink`` wrote."""

    def __init__(self, path: Path) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        self._whole = self._index
        if isinstance(self._index, faiss.IndexRefine):
            self._whole = faiss.downcast_index(self._index.refine_index)
        if isinstance(self._index, faiss.IndexIVF):
            self._index.make_direct_map()  # where each vector lies, for ``vectors``

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._whole.d

    def turned(self, vector: Floats) -> Floats:
        """(width,) as ``nearest`` is asked and ``vectors`` are given: as it is."""
        return vector

    def nearest(self, vector: Floats, limit: int) -> tuple[Ints, Floats]:
        """Row numbers and inner products, best first, at most ``limit``."""
        asked = max(limit, _FEWEST) if self._whole is not self._index else limit
        products, rows = self._index.search(vector[None].astype(np.float32), min(asked, len(self)))
        found = rows[0] >= 0
        return rows[0][found][:limit].astype(np.int32), products[0][found][:limit]

    def vectors(self, rows: Ints) -> Floats:
        """(n, width) of some rows."""
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        return self._whole.reconstruct_batch(rows.astype(np.int64))
