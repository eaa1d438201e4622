"""4 or 8 bits, as for all sequence networks."""

from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.layers.next_item import small

FORMS = (Form(("int4",)), Form(("int8",)))


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """An eighth or a quarter of the bytes."""
    small.compress(source, into, bits=4 if form == FORMS[0] else 8)
