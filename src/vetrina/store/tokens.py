"""The named properties of products as tokens, such as "brand: Alder" or "attributes colour: red". Training side only."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import msgspec
import polars as pl

_PARTS = re.compile(r"[,;|]")
_LONGEST = 60
_LEVEL = " > "


def tokens(frame: pl.DataFrame, others: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Of each row: every level of ``category``, ``brand``, and what the columns ``others`` list, say or hold as JSON."""
    found: list[list[str]] = [[] for _ in range(len(frame))]
    for name in (n for n in ("category", "brand", *others) if n in frame.columns):
        said = _levels if name == "category" else _whole if name == "brand" else _properties
        for row, text in zip(found, frame[name].cast(pl.String).to_list(), strict=True):
            if text:
                row.extend(f"{name}{value}" for value in said(text))
    return tuple(tuple(dict.fromkeys(row)) for row in found)


def _levels(path: str) -> list[str]:
    """``A > B`` is in A and in A > B."""
    return [f": {level}" for level in accumulate(path.split(_LEVEL), lambda a, b: f"{a}{_LEVEL}{b}")]


def _whole(text: str) -> list[str]:
    return [f": {text}"]


def _properties(text: str) -> Iterator[str]:
    for value in _said(_read(text), ""):
        if len(value) <= _LONGEST:  # prose names nothing
            yield value


def _read(text: str) -> Any:
    if text[0] in "[{":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass
    parts = [p.strip() for p in _PARTS.split(text)]
    words = text.split()
    return words if len(parts) == 1 and all(w.isdigit() for w in words) else parts


def _said(value: Any, key: str) -> Iterator[str]:
    """``key: value`` of whatever JSON holds; a list of {"name": ..., "value": ...} counts as an object."""
    if isinstance(value, dict) and {"name", "value"} <= value.keys():
        value = {str(value["name"]): value["value"]}
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _said(inner, f"{key} {name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _said(inner, key)
    elif value is not None and value != "":
        yield f"{key}: {value}"
