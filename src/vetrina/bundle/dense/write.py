"""Writer of dense vector indexes: 8-bit flat or IVF."""

from pathlib import Path

import faiss

from vetrina.core.arrays import Floats

_MAX_EXACT_VECTORS = 50_000
_NLIST = 1_024
_NPROBE = 32
_METRIC = faiss.METRIC_INNER_PRODUCT


def write_dense_index(vectors: Floats, path: Path) -> None:
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
