"""A student in place of the encoder of queries, and codes in place of the products' vectors in 8 bits: products of codes where
work is what counts, codes of what lies along principal axes where bytes are.

What a student was taught is kept for the next fit with the same encoder and texts.
"""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from vetrina.core import zstd_file
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.files import atomic_write
from vetrina.core.types import Floats
from vetrina.models.text import query_phrases, query_student
from vetrina.models.text.online import TextEncoder
from vetrina.retrieval import dense, transform_coding
from vetrina.retrieval.dense import DenseIndex

MIN_PRODUCTS = 2_000  # products; fewer show too little of a language
_EPOCHS = 8
_BATCH_SIZE = 128
# Of the index: 8 bits a number as it is built, 6 behind products of codes, or as fine as in so many bits. The seconds are a third
# of what teaching takes: all fits of a run share one student.
VARIANTS = (
    CompressionVariant(("distil", "int8", "pq"), {"bits": 6}, training_seconds=120.0),
    CompressionVariant(("distil", "int8"), {"bits": 8}, training_seconds=120.0),
    *(CompressionVariant(("transform",), {"fineness": bits}, is_aggressive=True) for bits in (5.5, 6.5)),
)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """The same folder with another ``encoder.onnx`` (a tenth of the float one's bytes), ``index.faiss``, or both."""
    student_ = _cached_student(source, distillation_data) if "distil" in variant.steps else None
    for file in source.iterdir():
        if file.name != "index.faiss":
            shutil.copy(file, into / file.name)
    if student_ is not None:
        zstd_file.write(into / "encoder.onnx", student_.read_bytes())
    index = DenseIndex(source / "index.faiss")
    if "pq" in variant.steps:
        if not dense.is_compressible(len(index), index.width):
            raise UnusableVariant(
                f"{len(index):,} texts of {index.width} numbers are too few, or of a width that codes do not divide"
            )
        dense.build_pq(source / "index.faiss", into / "index.faiss")
    elif "transform" in variant.steps:
        if not transform_coding.is_compressible(len(index), index.width):
            raise UnusableVariant(f"{len(index):,} texts of {index.width} numbers are too few to be worth their axes")
        vectors = index.vectors(np.arange(len(index), dtype=np.int32))
        transform_coding.write(vectors, into, variant.settings["fineness"])
    else:
        shutil.copy(source / "index.faiss", into / "index.faiss")


def _cached_student(source: Path, distillation_data: DistillationData) -> Path:
    """Its file, from the shop's cache if it was taught before."""
    catalogue = distillation_data.training_data.catalogue
    if catalogue is None or len(catalogue) < MIN_PRODUCTS:
        raise UnusableVariant(f"fewer than {MIN_PRODUCTS:,} products show too little of a language")
    texts = query_phrases.query_phrases(catalogue, distillation_data.plan.seed)
    key = sha256("\n".join(texts).encode() + zstd_file.read(source / "encoder.onnx") + str(_EPOCHS).encode())
    ready = source.parent.parent / "cache" / f"student-{key.hexdigest()[:24]}.onnx"
    if not ready.exists():
        with atomic_write(ready) as temporary:
            query_student.export_student(_distil_student(source, texts, distillation_data), temporary)
    return ready


def _distil_student(source: Path, texts: list[str], distillation_data: DistillationData) -> query_student.QueryStudent:
    encoder = TextEncoder(source, distillation_data.plan.threads)
    index = DenseIndex(source / "index.faiss")
    plan = distillation_data.plan
    with distillation_data.progress.step("text: what a student is to say", len(texts)) as step:
        vectors = _encode_bucketed(encoder, texts, step.advance)
    begin = _encode_bucketed(encoder, encoder.vocabulary(), lambda done: None)
    begin[np.unique(encoder.tokenise([""])[0])] = 0.0  # what stands around every text means nothing
    axes = query_student.principal_axes(vectors, query_student.EMBEDDING_DIM)
    with distillation_data.progress.step("text: a student of the encoder", _EPOCHS) as step:
        tokens, mask = encoder.tokenise_queries(texts)
        lessons = query_student.QueryDistillationData(
            tokens, mask, vectors, index.vectors(np.arange(len(index), dtype=np.int32))
        )
        return query_student.distil_encoder(begin @ axes, axes, lessons, _EPOCHS, plan, step.advance)


def _encode_bucketed(encoder: TextEncoder, texts: list[str], advance: Callable[[float], None]) -> Floats:
    """(texts, width), those of like length together."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    found = list[Floats]()
    for part in np.array_split(order, max(1, -(-len(texts) // _BATCH_SIZE))):
        found.append(encoder.encode_queries([texts[i] for i in part]))
        advance(len(part))
    vectors = np.concatenate(found)
    vectors[order] = vectors.copy()
    return vectors
