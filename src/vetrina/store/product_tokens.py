"""The named properties of products as tokens, such as "brand: Alder" or "attributes colour: red". Training side only."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import msgspec
import polars as pl

_SEPARATORS = re.compile(r"[,;|]")
_MAX_TOKEN_LENGTH = 60
_LEVEL_SEPARATOR = " > "


def product_tokens(frame: pl.DataFrame, property_columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Of each row: every level of ``category``, ``brand``, and what the columns ``others`` list, say or hold as JSON."""
    found: list[list[str]] = [[] for _ in range(len(frame))]
    for name in (n for n in ("category", "brand", *property_columns) if n in frame.columns):
        said = _category_levels if name == "category" else _single_token if name == "brand" else _property_tokens
        for row, text in zip(found, frame[name].cast(pl.String).to_list(), strict=True):
            if text:
                row.extend(f"{name}{value}" for value in said(text))
    return tuple(tuple(dict.fromkeys(row)) for row in found)


def _category_levels(path: str) -> list[str]:
    """``A > B`` is in A and in A > B."""
    return [
        f": {level}" for level in accumulate(path.split(_LEVEL_SEPARATOR), lambda a, b: f"{a}{_LEVEL_SEPARATOR}{b}")
    ]


def _single_token(text: str) -> list[str]:
    return [f": {text}"]


def _property_tokens(text: str) -> Iterator[str]:
    for value in _flatten(_parse_value(text), ""):
        if len(value) <= _MAX_TOKEN_LENGTH:  # prose names nothing
            yield value


def _parse_value(text: str) -> Any:
    if text[0] in "[{":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass
    parts = [p.strip() for p in _SEPARATORS.split(text)]
    words = text.split()
    return words if len(parts) == 1 and all(w.isdigit() for w in words) else parts


def _flatten(value: Any, key: str) -> Iterator[str]:
    """``key: value`` of whatever JSON holds; a list of {"name": ..., "value": ...} counts as an object."""
    if isinstance(value, dict) and {"name", "value"} <= value.keys():
        value = {str(value["name"]): value["value"]}
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flatten(inner, f"{key} {name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _flatten(inner, key)
    elif value is not None and value != "":
        yield f"{key}: {value}"
