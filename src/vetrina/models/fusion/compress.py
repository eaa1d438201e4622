"""Vectors in 4 bits."""

import shutil
from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.layers import packed_table
from vetrina.models.fusion.online import Fusion

FORMS = (Form(("int4",), bold=True),)  # of 8 bits, which is how they are built


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """Half of the bytes."""
    packed_table.write(Fusion(source).vectors(), into, bits=4)
    shutil.copy(source / "weights.json", into / "weights.json")
