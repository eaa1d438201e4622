"""Product properties as tokens, such as "brand: Alder" or "attributes colour: red". For training only."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import msgspec
import polars as pl

_SEPARATORS = re.compile(r"[,;|]")
_MAX_TOKEN_LENGTH = 60  # characters; longer values are prose
_LEVEL_SEPARATOR = " > "


def product_tokens(frame: pl.DataFrame, property_columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Distinct tokens of each product: every level of ``category``, the ``brand``, and the values of other columns.

    Args:
        frame: Products.
        property_columns: Further columns; their cells are single values, lists of values or JSON.
    """
    tokens: list[list[str]] = [[] for _ in range(len(frame))]
    for name in ("category", "brand", *property_columns):
        if name not in frame.columns:
            continue
        for row_tokens, text in zip(tokens, frame[name].cast(pl.String).to_list(), strict=True):
            if text:
                row_tokens.extend(f"{name}{value}" for value in _values_of(name, text))
    return tuple(tuple(dict.fromkeys(row_tokens)) for row_tokens in tokens)


def _values_of(column: str, text: str) -> Iterator[str]:
    """The ends of a cell's tokens, after the name of its column."""
    if column == "category":
        yield from _category_levels(text)
    elif column == "brand":
        yield f": {text}"
    else:
        yield from _property_tokens(text)


def _category_levels(path: str) -> Iterator[str]:
    """All levels of a category: ``A > B`` belongs to ``A`` and to ``A > B``."""

    def join(parent: str, child: str) -> str:
        return f"{parent}{_LEVEL_SEPARATOR}{child}"

    for level in accumulate(path.split(_LEVEL_SEPARATOR), join):
        yield f": {level}"


def _property_tokens(text: str) -> Iterator[str]:
    for value in _flatten(_parse_value(text), ""):
        if len(value) <= _MAX_TOKEN_LENGTH:
            yield value


def _parse_value(text: str) -> Any:
    """JSON, or a list of texts: separated by commas, semicolons or bars, or by blanks if all of them are numbers."""
    if text[0] in "[{":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass
    parts = [part.strip() for part in _SEPARATORS.split(text)]
    words = text.split()
    if len(parts) == 1 and all(word.isdigit() for word in words):
        return words
    return parts


def _flatten(value: Any, key: str) -> Iterator[str]:
    """``key: value`` of all values in JSON; an object {"name": ..., "value": ...} counts as {name: value}."""
    if isinstance(value, dict) and {"name", "value"} <= value.keys():
        value = {str(value["name"]): value["value"]}
    if isinstance(value, dict):
        for name, inner_value in value.items():
            yield from _flatten(inner_value, f"{key} {name}")
    elif isinstance(value, list):
        for inner_value in value:
            yield from _flatten(inner_value, key)
    elif value is not None and value != "":
        yield f"{key}: {value}"
