"""Vectors of products' texts by a pretrained sentence encoder with int8 weights; those seen before come from a cache."""

import os
import tempfile
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import torch

from vetrina.core import zstd_file
from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, Ints
from vetrina.layers.onnx_export import export, quantize_dynamic
from vetrina.models.text.online import CONFIG_FILE, TextEncoder
from vetrina.models.text.pretrained import PretrainedEncoder, SentenceEncoder, locate_encoder

_MAX_TOKENS = 64
_BATCH_SIZE = 64


def catalogue_vectors(
    catalogue: Catalogue, encoder: str, threads: int, cache_folder: Path, progress: Progress
) -> tuple[Floats, Ints]:
    """Unit vectors (texts, width) of distinct texts, and which of them each product has (items,); ``encoder`` as in settings."""
    pretrained = locate_encoder(encoder)
    distinct, text_of = np.unique(np.array(product_texts(catalogue), dtype=object), return_inverse=True)
    file = vector_cache_file(cache_folder, pretrained)
    known = _load_cache(file)
    keys = [_text_key(text) for text in distinct]
    if all(key in known for key in keys):  # mostly: search has asked for them
        return np.array([known[key] for key in keys], np.float32), text_of.astype(np.int32)
    with tempfile.TemporaryDirectory() as scratch:
        write_pretrained_encoder(Path(scratch), pretrained, cache_folder, progress)
        vectors = encode_with_cache(list(distinct), TextEncoder(Path(scratch), threads), file, progress)
    return vectors, text_of.astype(np.int32)


def vector_cache_file(cache_folder: Path, pretrained: PretrainedEncoder) -> Path:
    """Where vectors of that encoder are kept."""
    return cache_folder / f"text-vectors-{pretrained.fingerprint}.npz"


def product_texts(catalogue: Catalogue) -> list[str]:
    """What stands for a product: title, category, brand, the start of the description."""
    rows = zip(catalogue.titles, catalogue.categories, catalogue.brands, catalogue.descriptions, strict=True)
    return [". ".join(p for p in (t, c, b, d[:200]) if p) for t, c, b, d in rows]


def write_pretrained_encoder(into: Path, pretrained: PretrainedEncoder, cache_folder: Path, progress: Progress) -> None:
    """The encoder as its makers left it: products are encoded with it, whatever queries learn."""
    zstd_file.write(into / "tokenizer.json", (pretrained.folder / "tokenizer.json").read_bytes())
    used = {
        "longest": _MAX_TOKENS,
        "pad": pretrained.pad_token_id,
        "query": pretrained.query_prompt,
        "document": pretrained.document_prompt,
    }
    (into / CONFIG_FILE).write_bytes(msgspec.json.encode(used))
    shared = os.environ.get("VETRINA_CACHE")  # shops of one machine may share the exported encoder
    ready = (Path(shared) if shared else cache_folder) / f"encoder-{pretrained.fingerprint}.onnx"
    if not ready.exists():
        with progress.step("text: export and quantise the encoder", 1) as step, atomic_write(ready) as temporary:
            export_int8(SentenceEncoder(pretrained).eval(), temporary)
            step.advance()
    zstd_file.write(into / "encoder.onnx", ready.read_bytes())


def export_int8(network: SentenceEncoder, path: Path) -> None:
    """``network`` as ONNX with 8-bit weights, as it is run."""
    tokens = torch.ones(2, 7, dtype=torch.int64)
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "float.onnx"
        export(network, (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, whole)
        quantize_dynamic(whole, path)


def replace_encoder(network: SentenceEncoder, into: Path) -> None:
    """``network`` in the place of the encoder in ``into``."""
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small.onnx"
        export_int8(network, small)
        zstd_file.write(into / "encoder.onnx", small.read_bytes())


def encode_with_cache(texts: list[str], encoder: TextEncoder, vector_cache_file: Path, progress: Progress) -> Floats:
    """Unit vectors (texts, width)."""
    known = _load_cache(vector_cache_file)
    keys = [_text_key(text) for text in texts]
    missing = [i for i, key in enumerate(keys) if key not in known]
    if missing:
        missing.sort(key=lambda i: len(texts[i]))
        with progress.step("text: encode products", len(missing)) as step:
            for start in range(0, len(missing), _BATCH_SIZE):
                rows = missing[start : start + _BATCH_SIZE]
                for i, vector in zip(rows, encoder.encode_documents([texts[i] for i in rows]), strict=True):
                    known[keys[i]] = vector.astype(np.float16)
                step.advance(len(rows))
        _save_cache(vector_cache_file, known)
    return np.array([known[k] for k in keys], dtype=np.float32)


def _text_key(text: str) -> bytes:
    return sha256(text.encode()).digest()[:12]


def _load_cache(path: Path) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {bytes(k): v for k, v in zip(file["keys"], file["vectors"], strict=True)}


def _save_cache(path: Path, known: dict[bytes, np.ndarray]) -> None:
    keys = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), 12)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=keys, vectors=np.array(list(known.values())))
