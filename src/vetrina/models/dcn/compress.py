"""Compression of DCN: distillation of the ensemble into one narrow network, and int8 weights."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.labelled_tables import EncodedTable
from vetrina.models.dcn.online import DCN
from vetrina.models.dcn.train import fit_networks, save_ensemble
from vetrina.nn.onnx_export import quantize_dynamic

# ``width``: hidden units relative to the teacher's
VARIANTS = (
    CompressionVariant(("int8",)),
    CompressionVariant(("distil", "int8"), {"width": 0.5}, training_seconds=20.0),
    CompressionVariant(("distil", "int8"), {"width": 0.25}, training_seconds=20.0),
)
_AUGMENTED_COPIES = 3  # of each row
_SWAP_PROBABILITY = 0.25  # of a value
_MAX_AUGMENTED_ROWS = 100_000
_Value = TypeVar("_Value", np.float32, np.int32)


def compress(source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData) -> None:
    """Writes ``network.onnx`` in about a quarter of the bytes, or a distilled one in about a tenth.

    Args:
        source: The folder that ``train`` wrote.
        into: The output folder.
        variant: One of ``VARIANTS``.
        distillation_data: The encoded table and the plan, for distillation.

    Raises:
        UnusableVariant: There are no rows to distil with.
    """
    if "distil" not in variant.steps:
        quantize_dynamic(source / "network.onnx", into / "network.onnx")
        return
    rows = distillation_data.training_data.encoded_table
    plan = distillation_data.plan
    if rows is None:
        raise UnusableVariant("there are no rows to distil a student with")
    labelled = _label_with_teacher(DCN(source), augment_rows(rows, plan.seed))
    width_divisor = round(1 / variant.settings["width"])
    networks, _ = fit_networks(labelled, plan, distillation_data.progress, restarts=1, width_divisor=width_divisor)
    with tempfile.TemporaryDirectory() as scratch:
        float_file = Path(scratch) / "network.onnx"
        save_ensemble(networks, labelled, float_file)
        quantize_dynamic(float_file, into / "network.onnx")


def augment_rows(rows: EncodedTable, seed: int) -> EncodedTable:
    """The rows, and copies of them in which some values are those of another random row.

    A teacher can label combinations that never occurred (Buciluă et al. 2006, "Model compression", who swap values
    between nearest neighbours).
    """
    rng = np.random.default_rng(seed)
    n_rows = len(rows)
    n_copies = min(_AUGMENTED_COPIES, max(0, _MAX_AUGMENTED_ROWS // max(1, n_rows)))
    source_rows = np.tile(np.arange(n_rows), n_copies)
    donor_rows = rng.integers(0, n_rows, len(source_rows))
    category_ids = _swap_values(rows.category_ids, source_rows, donor_rows, rng)
    dense = _swap_values(rows.dense, source_rows, donor_rows, rng)
    secondary_label = None
    if rows.secondary_label is not None:
        secondary_label = np.concatenate([rows.secondary_label, rows.secondary_label[source_rows]])
    return replace(
        rows,
        dense=np.concatenate([rows.dense, dense]),
        category_ids=np.concatenate([rows.category_ids, category_ids]),
        label=np.concatenate([rows.label, rows.label[source_rows]]),
        secondary_label=secondary_label,
        raw_columns={},
        candidate_levels=None,
        history_levels=None,
    )


def _swap_values(
    values: NDArray[_Value], source_rows: NDArray[np.intp], donor_rows: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[_Value]:
    """The source rows, each value replaced with _SWAP_PROBABILITY by that of the donor row."""
    is_swapped = rng.random((len(source_rows), values.shape[1])) < _SWAP_PROBABILITY
    return np.where(is_swapped, values[donor_rows], values[source_rows])


def _label_with_teacher(teacher: DCN, rows: EncodedTable) -> EncodedTable:
    """The rows with the teacher's predictions as labels: cross-entropy with them is KL divergence plus a constant."""
    predictions = teacher.predict(rows)
    secondary_label = None
    if rows.secondary_label is not None:
        secondary_label = predictions * teacher.predict_secondary(rows)
    return replace(rows, label=predictions, secondary_label=secondary_label)
