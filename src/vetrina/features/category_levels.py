"""What a product is, from coarse to fine: the same words for a catalogue in training and for a product put a moment ago."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.types import Catalogue, Ints

LEVELS = ("department", "category", "leaf", "brand", "brand in category", "brand in leaf", "title")
_CATEGORY_DEPTH = 2  # levels of a category path below which everything is "leaf"


def category_levels(title: str, category: str, brand: str) -> tuple[str, ...]:
    """One name for each of ``LEVELS``; empty where nothing is known."""
    path = [part.strip() for part in category.split(">") if part.strip()]
    department = " > ".join(path[:1])
    middle = " > ".join(path[:_CATEGORY_DEPTH])
    leaf = " > ".join(path)
    in_category, in_leaf = (f"{brand} in {part}" if brand and part else "" for part in (middle, leaf))
    return department, middle, leaf, brand, in_category, in_leaf, title


def level_codes(catalogue: Catalogue) -> tuple[Ints, list[list[str]]]:
    """The code (items, levels) of each product, -1 for an empty name, and the names of every level, sorted."""
    rows = [category_levels(*row) for row in zip(catalogue.titles, catalogue.categories, catalogue.brands, strict=True)]
    found = np.full((len(rows), len(LEVELS)), -1, np.int32)
    names = []
    for level in range(len(LEVELS)):
        column = [row[level] for row in rows]
        known = sorted(set(column) - {""})
        place = {name: at for at, name in enumerate(known)}
        found[:, level] = [place.get(name, -1) for name in column]
        names.append(known)
    return found, names


def write(catalogue: Catalogue, folder: Path) -> Ints:
    """Keeps codes and names; returns the codes."""
    folder.mkdir(parents=True, exist_ok=True)
    found, names = level_codes(catalogue)
    np.save(folder / "codes.npy", found)
    (folder / "names.json").write_bytes(msgspec.json.encode(names))
    return found


class CategoryLevels:
    """Opens what ``write`` wrote."""

    def __init__(self, folder: Path) -> None:
        self.codes = np.load(folder / "codes.npy", mmap_mode="r")
        self.names = msgspec.json.decode((folder / "names.json").read_bytes(), type=list[list[str]])
        self._code_by_name: list[dict[str, int]] | None = None

    def codes_of_item(self, item: int) -> Ints:
        """(levels,) of a product of the catalogue."""
        return np.asarray(self.codes[item])

    def codes_of(self, names: Sequence[str]) -> Ints:
        """(levels,) of a product that came since; -1 for a name that no product of the catalogue has."""
        if self._code_by_name is None:
            self._code_by_name = [{name: at for at, name in enumerate(known)} for known in self.names]
        return np.array([place.get(name, -1) for place, name in zip(self._code_by_name, names, strict=True)], np.int32)
