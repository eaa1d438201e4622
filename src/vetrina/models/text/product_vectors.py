"""Product text vectors by the pretrained sentence encoder with int8 weights, and their cache."""

import os
import tempfile
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import torch

from vetrina.bundle import zstd_file
from vetrina.core.arrays import Floats, Ints
from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress
from vetrina.core.training_data import Catalogue
from vetrina.core.training_plan import TrainingPlan
from vetrina.engines import Engine, find_engine
from vetrina.models.text.online import CONFIG_FILE, TextEncoder
from vetrina.models.text.pretrained import PretrainedEncoder, SentenceEncoder, locate_encoder
from vetrina.nn.onnx_export import export, quantize_dynamic

_MAX_TOKENS = 64  # of a text
_BATCH_SIZE = 64  # texts
_MAX_DESCRIPTION_CHARACTERS = 200
_KEY_BYTES = 12  # of a text's hash in the cache


def catalogue_vectors(
    catalogue: Catalogue, plan: TrainingPlan, cache_folder: Path, progress: Progress
) -> tuple[Floats, Ints]:
    """Vectors of the distinct product texts, from the cache where it has all of them.

    Args:
        catalogue: The products.
        plan: Pretrained encoder, threads of ONNX Runtime, engine.
        cache_folder: Of the shop.
        progress: Reports the steps.

    Returns:
        Unit vectors (texts, width), and the row of each product's text in them (items,).
    """
    pretrained = locate_encoder(plan.encoder)
    texts = np.array(product_texts(catalogue), dtype=object)
    distinct, inverse = np.unique(texts, return_inverse=True)
    text_of = inverse.astype(np.int32)
    cache_file = vector_cache_file(cache_folder, pretrained)
    cached_vectors = _load_cache(cache_file)
    keys = [_text_key(text) for text in distinct]
    if all(key in cached_vectors for key in keys):  # mostly: search has encoded them
        return np.array([cached_vectors[key] for key in keys], np.float32), text_of
    cache_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder) as scratch:  # where other machines find it, too
        folder = Path(scratch)
        write_pretrained_encoder(folder, pretrained, cache_folder, progress)
        engine = find_engine(plan.compute, plan.threads)
        encoder = TextEncoder(folder, plan.threads)
        vectors = encode_with_cache(list(distinct), encoder, cache_file, engine, progress)
    return vectors, text_of


def vector_cache_file(cache_folder: Path, pretrained: PretrainedEncoder) -> Path:
    """The file with the cached vectors of one pretrained encoder."""
    return cache_folder / f"text-vectors-{pretrained.fingerprint}.npz"


def product_texts(catalogue: Catalogue) -> list[str]:
    """The text of each product: title, category, brand and the start of the description, without the empty ones."""
    rows = zip(catalogue.titles, catalogue.categories, catalogue.brands, catalogue.descriptions, strict=True)
    texts = []
    for title, category, brand, description in rows:
        fields = (title, category, brand, description[:_MAX_DESCRIPTION_CHARACTERS])
        texts.append(". ".join(filter(None, fields)))
    return texts


def write_pretrained_encoder(into: Path, pretrained: PretrainedEncoder, cache_folder: Path, progress: Progress) -> None:
    """Writes the pretrained encoder in int8 with its tokenizer: product vectors are always made by it.

    Args:
        into: The output folder.
        pretrained: The encoder's files.
        cache_folder: Has or gets the exported encoder.
        progress: Reports the export.
    """
    zstd_file.write(into / "tokenizer.json", (pretrained.folder / "tokenizer.json").read_bytes())
    config = {
        "max_tokens": _MAX_TOKENS,
        "padding_id": pretrained.pad_token_id,
        "query_prompt": pretrained.query_prompt,
        "document_prompt": pretrained.document_prompt,
    }
    (into / CONFIG_FILE).write_bytes(msgspec.json.encode(config))
    shared_folder = os.environ.get("VETRINA_CACHE")  # shops of one machine may share the exported encoder
    if shared_folder:
        cache_folder = Path(shared_folder)
    exported = cache_folder / f"encoder-{pretrained.fingerprint}.onnx"
    if not exported.exists():
        with progress.step("text: export and quantise the encoder", 1) as step, atomic_write(exported) as temporary:
            export_int8(SentenceEncoder(pretrained).eval(), temporary)
            step.advance()
    zstd_file.write(into / "encoder.onnx", exported.read_bytes())


def export_int8(network: SentenceEncoder, path: Path) -> None:
    """Writes ONNX with int8 weights: ``tokens`` and ``mask`` (batch, length) to ``vector`` (batch, width)."""
    tokens = torch.ones(2, 7, dtype=torch.int64)
    example = (tokens, torch.ones_like(tokens))
    dynamic_axes = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    with tempfile.TemporaryDirectory() as scratch:
        float_file = Path(scratch) / "float.onnx"
        export(network, example, ("tokens", "mask"), ("vector",), dynamic_axes, float_file)
        quantize_dynamic(float_file, path)


def replace_encoder(network: SentenceEncoder, into: Path) -> None:
    """Writes ``network`` in int8 in place of the encoder in ``into``."""
    with tempfile.TemporaryDirectory() as scratch:
        int8_file = Path(scratch) / "small.onnx"
        export_int8(network, int8_file)
        zstd_file.write(into / "encoder.onnx", int8_file.read_bytes())


def encode_with_cache(
    texts: list[str], encoder: TextEncoder, vector_cache_file: Path, engine: Engine, progress: Progress
) -> Floats:
    """Vectors of product texts; those not cached yet are encoded and added to the cache.

    Args:
        texts: Distinct product texts.
        encoder: The pretrained encoder.
        vector_cache_file: See the function of that name.
        engine: Encodes the texts.
        progress: Reports the encoded texts.

    Returns:
        Unit vectors (texts, width), rounded to float16 as they are cached.
    """
    cached_vectors = _load_cache(vector_cache_file)
    keys = [_text_key(text) for text in texts]
    missing = [row for row, key in enumerate(keys) if key not in cached_vectors]
    if missing:
        missing.sort(key=lambda row: len(texts[row]))  # little padding in a batch
        batches = [missing[start : start + _BATCH_SIZE] for start in range(0, len(missing), _BATCH_SIZE)]
        texts_of_batches = [[texts[row] for row in rows] for rows in batches]
        encoded = engine.map(encoder.encode_documents, texts_of_batches)
        with progress.step("text: encode products", len(missing)) as step:
            for rows, vectors in zip(batches, encoded, strict=True):
                for row, vector in zip(rows, vectors, strict=True):
                    cached_vectors[keys[row]] = vector.astype(np.float16)
                step.advance(len(rows))
        _save_cache(vector_cache_file, cached_vectors)
    return np.array([cached_vectors[key] for key in keys], dtype=np.float32)


def _text_key(text: str) -> bytes:
    return sha256(text.encode()).digest()[:_KEY_BYTES]


def _load_cache(path: Path) -> dict[bytes, np.ndarray]:
    """Vectors (width,) float16 by the key of their text."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {bytes(key): vector for key, vector in zip(file["keys"], file["vectors"], strict=True)}


def _save_cache(path: Path, vectors: dict[bytes, np.ndarray]) -> None:
    keys = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), _KEY_BYTES)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=keys, vectors=np.array(list(vectors.values())))
