"""Split conditions of a decision tree in terms of the table's own columns and values."""

import numpy as np

from vetrina.features.table_encoding import FREQUENCY, TARGET_RATE, NumericColumn, TableEncoding, TextColumn


def split_conditions(encoding: TableEncoding, column_index: int, threshold: float) -> tuple[str, str]:
    """The conditions of the two branches of a split, such as "age <= 30" and "age > 30".

    Args:
        encoding: maps encoded columns to the table's own.
        column_index: index of the encoded column.
        threshold: of the encoded column, in its encoded units.

    Returns:
        The condition of rows at or below the threshold, and that of rows above it.
    """
    column, value = encoding.encoded_columns()[column_index]
    name = column.name
    if isinstance(column, TextColumn):
        return f"{name} hardly contains {value!r}", f"{name} contains {value!r}"
    if isinstance(column, NumericColumn):
        if value:
            return f"{name} is known", f"{name} is missing"
        raw_threshold = float(column.inverse_transform(np.array([threshold]))[0])
        return f"{name} <= {raw_threshold:.6g}", f"{name} > {raw_threshold:.6g}"
    if value in (TARGET_RATE, FREQUENCY):
        return f"{name}: {value} <= {threshold:.4g}", f"{name}: {value} > {threshold:.4g}"
    return f"{name} is not {value!r}", f"{name} is {value!r}"
