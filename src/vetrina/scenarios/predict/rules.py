"""What it means in the words of the table that an encoded column lies below or above a threshold."""

import numpy as np

from vetrina.features.table_encoding import FREQUENCY, TARGET_RATE, NumericColumn, TableEncoding, TextColumn


def split_conditions(encoding: TableEncoding, column_index: int, threshold: float) -> tuple[str, str]:
    """For encoded column ``at``: what is so of rows at or below ``threshold``, and of those above."""
    column, word = encoding.encoded_columns()[column_index]
    if isinstance(column, TextColumn):
        return f"{column.name} hardly says {word!r}", f"{column.name} says {word!r}"
    if word in (TARGET_RATE, FREQUENCY) and not isinstance(column, NumericColumn):
        return f"{column.name}: {word} <= {threshold:.4g}", f"{column.name}: {word} > {threshold:.4g}"
    if not isinstance(column, NumericColumn):
        return f"{column.name} is not {word!r}", f"{column.name} is {word!r}"
    if word:
        return f"{column.name} is known", f"{column.name} is missing"
    value = f"{float(column.inverse_transform(np.array([threshold]))[0]):.6g}"
    return f"{column.name} <= {value}", f"{column.name} > {value}"
