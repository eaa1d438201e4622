"""Vectors in int8 with one scale a product."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.core.compression import Form, Lesson

FORMS = (Form(("int8",)),)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same names in a quarter of the bytes."""
    vectors = np.load(source / "vectors.npy")
    scales = np.maximum(np.abs(vectors).max(axis=1, initial=0.0), 1e-12) / 127.0
    np.save(into / "vectors.npy", np.rint(vectors / scales[:, None]).astype(np.int8))
    np.save(into / "scales.npy", scales.astype(np.float32))
    shutil.copy(source / "weights.json", into / "weights.json")
