"""Writer of the catalogue."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle import bit_packing, dictionary_encoding
from vetrina.core.types import Catalogue


def write_catalogue(catalogue: Catalogue, folder: Path) -> None:
    """Write a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", np.char.encode(catalogue.product_ids, "utf-8"))  # sorts like the ids
    _write_titles(catalogue.titles, folder)
    _write_categorical_field("category", catalogue.categories, folder)
    _write_categorical_field("brand", catalogue.brands, folder)
    _write_numeric_field("price", catalogue.prices, folder)
    _write_numeric_field("stock", catalogue.stock, folder)
    np.save(folder / "last_seq.npy", np.array(catalogue.last_seq))


def _write_titles(titles: Sequence[str], folder: Path) -> None:
    """Write each distinct title once, since products may share one."""
    distinct_titles = list(dict.fromkeys(titles))
    number_of_title = {title: number for number, title in enumerate(distinct_titles)}
    encoded = [title.encode() for title in distinct_titles]
    lengths = np.array([len(title) for title in encoded], np.int64)
    np.save(folder / "titles.npy", np.frombuffer(b"".join(encoded), np.uint8))
    bit_packing.save(folder, "title_ends", np.cumsum(lengths))
    bit_packing.save(folder, "title_of", np.array([number_of_title[title] for title in titles], np.int64))


def _write_categorical_field(name: str, values: Sequence[str], folder: Path) -> None:
    names, codes = np.unique(np.array(values, dtype=object), return_inverse=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.encode([str(value) for value in names]))
    bit_packing.save(folder, name, codes)


def _write_numeric_field(name: str, numbers: NDArray[np.float64], folder: Path) -> None:
    as_float32 = numbers.astype(np.float32)
    if np.array_equal(as_float32, numbers, equal_nan=True):
        dictionary_encoding.save(folder, name, as_float32)
    else:
        dictionary_encoding.save(folder, name, numbers)
