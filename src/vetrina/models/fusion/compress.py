"""Vectors in 4 bits, or in int8 with one scale a product."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.core.compression import Form, Lesson
from vetrina.core.errors import Unfit
from vetrina.retrieval import nibbles

FORMS = (Form(("int4",)), Form(("int8",)))


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """An eighth or a quarter of the bytes. Raises Unfit for a width that 4 bits do not divide."""
    vectors = np.load(source / "vectors.npy")
    if not np.isfinite(vectors).all():
        raise Unfit("its vectors hold what is no number")
    if form == FORMS[0]:
        if not nibbles.block_of(vectors.shape[1]):
            raise Unfit(f"a width of {vectors.shape[1]} is no multiple of {nibbles.BLOCKS[-1]}")
        small, scales = nibbles.packed(vectors)
    else:
        scales = np.maximum(np.abs(vectors).max(axis=1, initial=0.0), 1e-12) / 127.0
        small = np.rint(vectors / scales[:, None]).astype(np.int8)
    np.save(into / "vectors.npy", small)
    np.save(into / "scales.npy", scales.astype(np.float32))
    shutil.copy(source / "weights.json", into / "weights.json")
