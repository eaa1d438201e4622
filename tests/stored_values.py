"""What the files of a shop hold, decoded: an id in a compressed Parquet file is no run of bytes that could be looked for."""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def holding(folder: Path, needles: Iterable[str]) -> dict[str, str]:
    """Files below ``folder`` with a value that contains one of ``needles``, and the first one they hold.

    A file with several names is read once.
    """
    wanted = list(needles)
    files = {file.stat().st_ino: file for file in sorted(folder.rglob("*")) if file.is_file()}
    places: dict[str, str] = {}
    for file in files.values():
        first = _first(file, wanted)
        if first:
            places[str(file.relative_to(folder))] = first
    return places


def _first(file: Path, needles: list[str]) -> str | None:
    for text in texts(file):
        for needle in needles:
            if needle in text:
                return needle
    return None


def texts(file: Path) -> Iterator[str]:
    """Every value of a file of a known format as text, and the bytes of any file."""
    content = file.read_bytes()
    yield content.decode("utf-8", errors="replace")
    if content.startswith(b"PAR1"):
        yield from _of_table(pl.read_parquet(file))
    elif content.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        yield from _of_arrays(file)
    elif content.startswith(b"SQLite format 3"):
        yield from _of_database(file)
    elif content.startswith(b"\x28\xb5\x2f\xfd"):
        yield zstd.decompress(content).decode("utf-8", errors="replace")


def _of_table(table: pl.DataFrame) -> Iterator[str]:
    for column in table.columns:
        yield json.dumps(table[column].to_list(), default=str, ensure_ascii=False)


def _of_arrays(file: Path) -> Iterator[str]:
    loaded = np.load(file, allow_pickle=False)
    arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
    for array in arrays:
        if array.dtype.kind in "US":
            yield json.dumps(array.astype(str).tolist(), ensure_ascii=False)


def _of_database(file: Path) -> Iterator[str]:
    connection = sqlite3.connect(file)
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in names:
        for row in connection.execute(f'SELECT * FROM "{name}"'):
            for value in row:
                yield from _of_cell(value)
    connection.close()


def _of_cell(value: object) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        yield value
