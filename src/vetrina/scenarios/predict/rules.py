"""What it means in the words of the table that an encoded column lies below or above a threshold."""

import numpy as np

from vetrina.features.encoding import COUNT, RATE, Encoding, Number, Text


def conditions(encoding: Encoding, at: int, threshold: float) -> tuple[str, str]:
    """For encoded column ``at``: what is so of rows at or below ``threshold``, and of those above."""
    column, word = encoding.names()[at]
    if isinstance(column, Text):
        return f"{column.name} hardly says {word!r}", f"{column.name} says {word!r}"
    if word in (RATE, COUNT) and not isinstance(column, Number):
        return f"{column.name}: {word} <= {threshold:.4g}", f"{column.name}: {word} > {threshold:.4g}"
    if not isinstance(column, Number):
        return f"{column.name} is not {word!r}", f"{column.name} is {word!r}"
    if word:
        return f"{column.name} is known", f"{column.name} is missing"
    value = f"{float(column.meant(np.array([threshold]))[0]):.6g}"
    return f"{column.name} <= {value}", f"{column.name} > {value}"
