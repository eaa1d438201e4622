"""Writer of the catalogue."""

from pathlib import Path

import msgspec
import numpy as np

from vetrina.bundle import bit_packing, dictionary_encoding
from vetrina.core.types import Catalogue


def write_catalogue(catalogue: Catalogue, folder: Path) -> None:
    """Write a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", np.char.encode(catalogue.product_ids, "utf-8"))  # sorts like the ids
    number_of_title = {title: at for at, title in enumerate(dict.fromkeys(catalogue.titles))}  # products may share one
    titles = [title.encode() for title in number_of_title]
    np.save(folder / "titles.npy", np.frombuffer(b"".join(titles), np.uint8))
    bit_packing.save(folder, "title_ends", np.cumsum([0, *map(len, titles)])[1:])
    bit_packing.save(folder, "title_of", np.array([number_of_title[title] for title in catalogue.titles], np.int64))
    for name, values in (("category", catalogue.categories), ("brand", catalogue.brands)):
        names, codes = np.unique(np.array(values, dtype=object), return_inverse=True)
        (folder / f"{name}.json").write_bytes(msgspec.json.encode([str(n) for n in names]))
        bit_packing.save(folder, name, codes)
    for name, numbers in (("price", catalogue.prices), ("stock", catalogue.stock)):
        as_float32 = numbers.astype(np.float32)
        is_exact = np.array_equal(as_float32, numbers, equal_nan=True)
        dictionary_encoding.save(folder, name, as_float32 if is_exact else numbers)
    np.save(folder / "last_seq.npy", np.array(catalogue.last_seq))
