"""One narrow network in place of several, taught what their mean says; int8 weights and embeddings."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.labelled_tables import EncodedTable
from vetrina.layers.onnx_export import quantize_dynamic
from vetrina.models.dcn.online import DCN
from vetrina.models.dcn.train import fit_networks, save_ensemble

VARIANTS = (
    *(CompressionVariant(("distil", "int8"), {"width": width}, training_seconds=20.0) for width in (0.25, 0.5)),
    CompressionVariant(("int8",)),
)
_AUGMENTED_COPIES = 3
_SWAP_PROBABILITY = 0.25
_MAX_AUGMENTED_ROWS = 100_000


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """The same names in about a quarter of the bytes, or in a tenth; ``width`` is that of the inner layers."""
    if "distil" not in variant.steps:
        quantize_dynamic(source / "network.onnx", into / "network.onnx")
        return
    rows = distillation_data.training_data.encoded_table
    plan = distillation_data.plan
    if rows is None:
        raise UnusableVariant("there are no rows to teach a student with")
    told = _label_with_teacher(DCN(source), augment_rows(rows, plan.seed))
    networks, _ = fit_networks(told, plan, distillation_data.progress, 1, round(1 / variant.settings["width"]))
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "network.onnx"
        save_ensemble(networks, told, whole)
        quantize_dynamic(whole, into / "network.onnx")


def augment_rows(rows: EncodedTable, seed: int) -> EncodedTable:
    """The rows, and others with some values of other rows: a teacher can be asked about what never happened, too.

    Buciluă et al. 2006, "Model compression", who move values between neighbours; here any two rows.
    """
    rng = np.random.default_rng(seed)
    n = len(rows)
    own = np.tile(np.arange(n), min(_AUGMENTED_COPIES, max(0, _MAX_AUGMENTED_ROWS // max(1, n))))
    other = rng.integers(0, n, len(own))
    ids = np.where(
        rng.random((len(own), rows.category_ids.shape[1])) < _SWAP_PROBABILITY,
        rows.category_ids[other],
        rows.category_ids[own],
    )
    dense = np.where(
        rng.random((len(own), rows.dense.shape[1])) < _SWAP_PROBABILITY, rows.dense[other], rows.dense[own]
    )
    label = np.concatenate([rows.label, rows.label[own]])
    second = None if rows.secondary_label is None else np.concatenate([rows.secondary_label, rows.secondary_label[own]])
    dense = np.concatenate([rows.dense, dense])
    ids = np.concatenate([rows.category_ids, ids])
    return replace(
        rows,
        dense=dense,
        category_ids=ids,
        label=label,
        secondary_label=second,
        raw_columns={},
        candidate_levels=None,
        history_levels=None,
    )


def _label_with_teacher(teacher: DCN, rows: EncodedTable) -> EncodedTable:
    """The rows with what the teacher expects for labels: cross-entropy with chances is KL divergence and a constant."""
    expected = teacher.predict(rows)
    second = None if rows.secondary_label is None else expected * teacher.predict_secondary(rows)
    return replace(rows, label=expected, secondary_label=second)
