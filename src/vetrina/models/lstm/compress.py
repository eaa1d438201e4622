"""int8, as for all sequence networks."""

from pathlib import Path

from vetrina.core.compression import Form, Lesson
from vetrina.layers.next_item import small

FORMS = (Form(("int8",)),)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same names in a quarter of the bytes."""
    small.compress(source, into)
