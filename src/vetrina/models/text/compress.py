"""Compression of text search: a distilled query encoder.

The distilled encoder is cached for the next fit with the same encoder and texts.
"""

import math
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from vetrina.bundle import zstd_file
from vetrina.bundle.dense.read import DenseIndex
from vetrina.core.arrays import Floats
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.files import atomic_write
from vetrina.models.text import query_phrases, query_student
from vetrina.models.text.online import INDEX_FILE, TextEncoder

MIN_PRODUCTS = 2_000  # products; fewer yield too few distinct phrases for distillation
_EPOCHS = 8
_BATCH_SIZE = 128  # texts
# The seconds are a third of what distillation takes: all fits of a run share one student.
VARIANTS = (CompressionVariant(("distil", "int8"), training_seconds=120.0),)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes a copy of a fitted model with a smaller ``encoder.onnx``, a tenth of the float one.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: The only one of ``VARIANTS``.
        distillation_data: The catalogue and the plan.

    Raises:
        UnusableVariant: The catalogue is too small for the variant.
    """
    student_file = _cached_student(source, distillation_data)
    for file in source.iterdir():
        shutil.copy(file, into / file.name)
    zstd_file.write(into / "encoder.onnx", student_file.read_bytes())


def _all_vectors(index: DenseIndex) -> Floats:
    return index.vectors(np.arange(len(index), dtype=np.int32))


def _cached_student(source: Path, distillation_data: DistillationData) -> Path:
    """The distilled encoder's file, from the shop's cache if it is there."""
    catalogue = distillation_data.training_data.catalogue
    if catalogue is None or len(catalogue) < MIN_PRODUCTS:
        raise UnusableVariant(f"fewer than {MIN_PRODUCTS:,} products are too few to distil a query encoder from")
    texts = query_phrases.query_phrases(catalogue, distillation_data.plan.seed)
    key = sha256("\n".join(texts).encode())
    key.update(zstd_file.read(source / "encoder.onnx"))
    key.update(str(_EPOCHS).encode())
    student_file = distillation_data.training_data.cache_folder / f"student-{key.hexdigest()[:24]}.onnx"
    if not student_file.exists():
        with atomic_write(student_file) as temporary:
            query_student.export_student(_distil_student(source, texts, distillation_data), temporary)
    return student_file


def _distil_student(source: Path, texts: list[str], distillation_data: DistillationData) -> query_student.QueryStudent:
    """A student of the encoder in ``source``, trained on the encoder's vectors of ``texts``."""
    plan = distillation_data.plan
    progress = distillation_data.progress
    encoder = TextEncoder(source, plan.threads)
    index = DenseIndex(source / INDEX_FILE)
    with progress.step("text: encode the distillation data", len(texts)) as step:
        vectors = _encode_bucketed(encoder, texts, step.advance)
    token_vectors = _encode_bucketed(encoder, encoder.vocabulary(), lambda _: None)
    special_tokens = np.unique(encoder.tokenise([""])[0])
    token_vectors[special_tokens] = 0.0  # they stand around every text, so they mean nothing
    axes = query_student.principal_axes(vectors, query_student.EMBEDDING_DIM)
    with progress.step("text: distil the query encoder", _EPOCHS) as step:
        tokens, mask = encoder.tokenise_queries(texts)
        data = query_student.QueryDistillationData(tokens, mask, vectors, _all_vectors(index))
        return query_student.distil_encoder(token_vectors @ axes, axes, data, _EPOCHS, plan, step.advance)


def _encode_bucketed(encoder: TextEncoder, texts: list[str], advance: Callable[[float], None]) -> Floats:
    """Vectors (texts, width), encoded in batches of similar length."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    n_batches = max(1, math.ceil(len(texts) / _BATCH_SIZE))
    blocks = list[Floats]()
    for rows in np.array_split(order, n_batches):
        blocks.append(encoder.encode_queries([texts[row] for row in rows]))
        advance(len(rows))
    sorted_vectors = np.concatenate(blocks)
    vectors = np.empty_like(sorted_vectors)
    vectors[order] = sorted_vectors
    return vectors
