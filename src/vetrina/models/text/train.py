"""Text search index: pretrained sentence encoder in int8, product vectors, and a fine-tuned query encoder.

Where a shop has enough queries of its own, the query encoder is fine-tuned on them (``query_fine_tuning``).

The encoder is written in int8 only; its agreement with float is measured on the shop's own texts.
"""

from pathlib import Path

import numpy as np
import torch

from vetrina.bundle import bit_packing
from vetrina.bundle.dense.write import write_dense_index
from vetrina.core.progress import Progress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.engines import find_engine
from vetrina.models.text.model import MODEL
from vetrina.models.text.online import INDEX_FILE, TextEncoder
from vetrina.models.text.pretrained import DEFAULT_ENCODER, SentenceEncoder, encoder_credit, locate_encoder
from vetrina.models.text.product_vectors import (
    encode_with_cache,
    product_texts,
    replace_encoder,
    vector_cache_file,
    write_pretrained_encoder,
)
from vetrina.models.text.query_encoder_training import QueryEncoderTrainer
from vetrina.models.text.training_queries import training_queries

_PARITY_TEXTS = 64  # texts on which int8 is compared with float


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Encodes all product texts, builds their index and fine-tunes the query encoder where the plan asks for it.

    Writes ``encoder.onnx`` and ``tokenizer.json`` (Zstandard), ``encoder.json``, ``index.faiss`` (texts, width) and
    bit-packed ``text_of`` (items,), the text of each product.

    Args:
        training_data: Needs the catalogue and the cache; judgments are the queries to learn from.
        plan: Seed, threads, pretrained encoder and hyper-parameters.
        into: The output folder.
        progress: Reports the steps.

    Returns:
        The hyper-parameters of fine-tuning, and a report: number of distinct texts and of training queries, agreement of int8
        with float, the encoder, and the results of fine-tuning.

    Raises:
        BadInput: The pretrained encoder is not usable.
    """
    if training_data.catalogue is None:
        raise ValueError("text needs a catalogue")
    cache_folder = training_data.cache_folder
    hyperparameters = MODEL.hyperparameters_in(plan)
    pretrained = locate_encoder(plan.encoder)
    texts = product_texts(training_data.catalogue)
    network = SentenceEncoder(pretrained).eval()
    write_pretrained_encoder(into, pretrained, cache_folder, progress)
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    encoder = TextEncoder(into, plan.threads)
    engine = find_engine(plan.compute, plan.threads)
    cache_file = vector_cache_file(cache_folder, pretrained)
    vectors = encode_with_cache(list(distinct), encoder, cache_file, engine, progress)
    write_dense_index(vectors, into / INDEX_FILE)
    bit_packing.save(into, "text_of", text_of)
    notes = TrainNotes()
    n_queries = 0
    if hyperparameters["epochs"] and hyperparameters["trainable_layers"]:
        queries, hyperparameters = training_queries(training_data, plan.seed, hyperparameters, text_of.astype(np.int32))
        trainer = QueryEncoderTrainer(pretrained, network, encoder, list(distinct), vectors)
        notes = trainer.fit(queries, plan, hyperparameters, progress)
        n_queries = len(queries)
        if notes.hyperparameters["stop"]:
            replace_encoder(network, into)
    report = {
        "texts": len(distinct),
        "parity_cosine": _parity_cosine(network, into, texts[:_PARITY_TEXTS]),
        "encoder": plan.encoder or DEFAULT_ENCODER,
        "credits": [encoder_credit(plan.encoder)],
        "queries": n_queries,
        **notes.report,
    }
    return TrainNotes(hyperparameters=notes.hyperparameters, report=report)


@torch.no_grad()
def _parity_cosine(network: SentenceEncoder, folder: Path, texts: list[str]) -> float:
    """Mean cosine between the float network and the file that is served."""
    encoder = TextEncoder(folder)
    tokens, mask = encoder.tokenise(texts)
    reference = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    cosines = (reference * encoder.encode(texts)).sum(1)
    return float(cosines.mean())
