"""uint8 co-occurrences with one scale a row."""

import shutil
from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.retrieval.neighbours import quantize

FORMS = (Form(("int8",)),)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same files, the values in a quarter of the bytes."""
    quantize(source, into)
    shutil.copy(source / "settings.json", into / "settings.json")
