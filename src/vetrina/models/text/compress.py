"""A student in place of the encoder of queries, and codes in place of the products' vectors in 8 bits: products of codes where
work is what counts, codes of what lies along principal axes where bytes are.

What a student was taught is kept for the next fit with the same encoder and texts.
"""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from vetrina.core import squeezed
from vetrina.core.compression import Form, Lesson
from vetrina.core.errors import Unfit
from vetrina.core.files import beside
from vetrina.core.types import Floats
from vetrina.models.text import phrases, student
from vetrina.models.text.online import Encoder
from vetrina.retrieval import dense, transform_coding
from vetrina.retrieval.dense import DenseIndex

LEAST = 2_000  # products; fewer show too little of a language
_EPOCHS, _ENCODED = 8, 128
# Of the index: 8 bits a number as it is built, 6 behind products of codes, or as fine as in so many bits. The seconds are a third
# of what teaching takes: all fits of a run share one student.
FORMS = (
    Form(("distil", "int8", "pq"), {"bits": 6}, seconds=120.0),
    Form(("distil", "int8"), {"bits": 8}, seconds=120.0),
    *(Form(("transform",), {"fineness": bits}, bold=True) for bits in (5.5, 6.5)),
)


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same folder with another ``encoder.onnx`` (a tenth of the float one's bytes), ``index.faiss``, or both."""
    student_ = _student(source, lesson) if "distil" in form.steps else None
    for file in source.iterdir():
        if file.name != "index.faiss":
            shutil.copy(file, into / file.name)
    if student_ is not None:
        squeezed.write(into / "encoder.onnx", student_.read_bytes())
    index = DenseIndex(source / "index.faiss")
    if "pq" in form.steps:
        if not dense.fits(len(index), index.width):
            raise Unfit(
                f"{len(index):,} texts of {index.width} numbers are too few, or of a width that codes do not divide"
            )
        dense.shrink(source / "index.faiss", into / "index.faiss")
    elif "transform" in form.steps:
        if not transform_coding.fits(len(index), index.width):
            raise Unfit(f"{len(index):,} texts of {index.width} numbers are too few to be worth their axes")
        vectors = index.vectors(np.arange(len(index), dtype=np.int32))
        transform_coding.write(vectors, into, form.settings["fineness"])
    else:
        shutil.copy(source / "index.faiss", into / "index.faiss")


def _student(source: Path, lesson: Lesson) -> Path:
    """Its file, from the shop's cache if it was taught before."""
    catalogue = lesson.past.catalogue
    if catalogue is None or len(catalogue) < LEAST:
        raise Unfit(f"fewer than {LEAST:,} products show too little of a language")
    texts = phrases.of(catalogue, lesson.plan.seed)
    key = sha256("\n".join(texts).encode() + squeezed.read(source / "encoder.onnx") + str(_EPOCHS).encode())
    ready = source.parent.parent / "cache" / f"student-{key.hexdigest()[:24]}.onnx"
    if not ready.exists():
        with beside(ready) as temporary:
            student.write(_taught(source, texts, lesson), temporary)
    return ready


def _taught(source: Path, texts: list[str], lesson: Lesson) -> student.Student:
    encoder, index, plan = Encoder(source, lesson.plan.threads), DenseIndex(source / "index.faiss"), lesson.plan
    with lesson.progress.step("text: what a student is to say", len(texts)) as step:
        vectors = _encoded(encoder, texts, step.advance)
    begin = _encoded(encoder, encoder.vocabulary(), lambda done: None)
    begin[np.unique(encoder.tokens([""])[0])] = 0.0  # what stands around every text means nothing
    axes = student.axes_of(vectors, student.WIDTH)
    with lesson.progress.step("text: a student of the encoder", _EPOCHS) as step:
        tokens, mask = encoder.query_tokens(texts)
        lessons = student.Lessons(tokens, mask, vectors, index.vectors(np.arange(len(index), dtype=np.int32)))
        return student.taught(begin @ axes, axes, lessons, _EPOCHS, plan, step.advance)


def _encoded(encoder: Encoder, texts: list[str], advance: Callable[[float], None]) -> Floats:
    """(texts, width), those of like length together."""
    order, found = np.argsort([len(text) for text in texts], kind="stable"), list[Floats]()
    for part in np.array_split(order, max(1, -(-len(texts) // _ENCODED))):
        found.append(encoder.queries([texts[i] for i in part]))
        advance(len(part))
    vectors = np.concatenate(found)
    vectors[order] = vectors.copy()
    return vectors
