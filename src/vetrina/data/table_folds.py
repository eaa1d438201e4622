"""Folds of a labelled table for cross-validation (Stone 1974).

The validation rows are the first fold, so that the models that are fitted before validation serve it. The training rows are
dealt into the other folds, each with about equally many rows of every label.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import EncodedTable, LabelledTable
from vetrina.features.table_encoding import TableEncoding

MAX_FOLDS = 5  # the validation rows, and the parts of the training rows


@dataclass(frozen=True)
class Fold:
    """Rows to train on and rows that are held out from them, under an encoding that was fitted on the former alone.

    Attributes:
        training: Encoded rows to train on.
        held_out: Encoded rows to predict, with their labels.
        table: The held-out rows as the shop gave them.
    """

    training: EncodedTable
    held_out: EncodedTable
    table: LabelledTable


def encode_folds(training: LabelledTable, validation: LabelledTable, n_folds: int, seed: int) -> list[Fold]:
    """The first ``n_folds`` of five folds.

    Args:
        training: Training rows; a quarter of them is held out in each fold but the first.
        validation: Validation rows; they are held out in the first fold and trained on in the others.
        n_folds: Number of folds, 1 to ``MAX_FOLDS``.
        seed: Seed of the order in which rows of one label are dealt.
    """
    folds = [_encode_fold(training, validation)]
    part_of_row = _deal_rows(training, seed)
    for part in range(min(n_folds, MAX_FOLDS) - 1):
        is_held_out = part_of_row == part
        kept = training.take(np.flatnonzero(~is_held_out)).append(validation)
        folds.append(_encode_fold(kept, training.take(np.flatnonzero(is_held_out))))
    return folds


def _encode_fold(training: LabelledTable, held_out: LabelledTable) -> Fold:
    encoding = TableEncoding.fit(training)
    labels = encoding.encode_labels(training.label)
    encoded = encoding.encode(held_out.columns)
    return Fold(
        encoding.encode_training_rows(training.columns, labels),
        replace(encoded, label=encoding.encode_labels(held_out.label)),
        held_out,
    )


def _deal_rows(table: LabelledTable, seed: int) -> NDArray[np.intp]:
    """(rows,) number of the part that each row is dealt to: in the order of their labels, rows of one label at random."""
    shuffled = np.random.default_rng(seed).permutation(len(table))
    by_label = shuffled[np.argsort(table.label[shuffled], kind="stable")]
    part_of_row = np.empty(len(table), np.intp)
    part_of_row[by_label] = np.arange(len(table)) % (MAX_FOLDS - 1)
    return part_of_row
