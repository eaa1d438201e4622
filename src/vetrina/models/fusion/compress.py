"""Vectors in 4 or 8 bits."""

import shutil
from pathlib import Path

import numpy as np

from vetrina.core.compression import Form, Lesson
from vetrina.layers import packed_table

FORMS = (Form(("int4",)), Form(("int8",)))


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """An eighth or a quarter of the bytes."""
    packed_table.write(np.load(source / "vectors.npy"), into, bits=4 if form == FORMS[0] else 8)
    shutil.copy(source / "weights.json", into / "weights.json")
