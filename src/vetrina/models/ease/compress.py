"""uint8 similarities with one scale a row, of all neighbours or of the nearer half."""

from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.retrieval.neighbours import quantize

FORMS = (Form(("prune 50 %", "int8")), Form(("int8",)))


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same files, the values in a quarter of the bytes or less."""
    quantize(source, into, 0.5 if form == FORMS[0] else 1.0)
