"""Category levels of a product, from department to title, as integer codes.

The same function names the levels of the catalogue in training and those of a product that was added a moment ago.

- ``codes.npy`` (items, levels) int32: number of each product's name, -1 for an empty one.
- ``names.json``: the sorted names of each level.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.types import Catalogue, Ints

LEVELS = ("department", "category", "leaf", "brand", "brand in category", "brand in leaf", "title")
_CATEGORY_DEPTH = 2  # levels of a category path that make the "category"; the whole path is the "leaf"


def category_levels(title: str, category: str, brand: str) -> tuple[str, ...]:
    """Return one name for each of ``LEVELS``, empty where it is unknown.

    Args:
        title: Title of the product.
        category: Path of categories, separated by ``>``.
        brand: Brand of the product.
    """
    path = [part.strip() for part in category.split(">") if part.strip()]
    department = " > ".join(path[:1])
    middle = " > ".join(path[:_CATEGORY_DEPTH])
    leaf = " > ".join(path)
    return department, middle, leaf, brand, _brand_in(brand, middle), _brand_in(brand, leaf), title


def _brand_in(brand: str, category: str) -> str:
    if not brand or not category:
        return ""
    return f"{brand} in {category}"


def level_codes(catalogue: Catalogue) -> tuple[Ints, list[list[str]]]:
    """Return the codes (items, levels) of each product, -1 for an empty name, and the sorted names of every level."""
    products = zip(catalogue.titles, catalogue.categories, catalogue.brands, strict=True)
    level_names = [category_levels(*product) for product in products]
    codes = np.full((len(level_names), len(LEVELS)), -1, np.int32)
    vocabularies = []
    for level in range(len(LEVELS)):
        names = [row[level] for row in level_names]
        vocabulary = sorted(set(names) - {""})
        code_by_name = _code_by_name(vocabulary)
        codes[:, level] = [code_by_name.get(name, -1) for name in names]
        vocabularies.append(vocabulary)
    return codes, vocabularies


def write(catalogue: Catalogue, folder: Path) -> Ints:
    """Write the codes and names of a catalogue's category levels; return the codes (items, levels)."""
    folder.mkdir(parents=True, exist_ok=True)
    codes, names = level_codes(catalogue)
    np.save(folder / "codes.npy", codes)
    (folder / "names.json").write_bytes(msgspec.json.encode(names))
    return codes


class CategoryLevels:
    """The category levels that ``write`` wrote."""

    def __init__(self, folder: Path) -> None:
        self.codes = np.load(folder / "codes.npy", mmap_mode="r")
        self.names = msgspec.json.decode((folder / "names.json").read_bytes(), type=list[list[str]])
        self._code_by_name: list[dict[str, int]] | None = None

    def codes_of_item(self, item: int) -> Ints:
        """Return the codes (levels,) of a product of the catalogue."""
        return np.asarray(self.codes[item])

    def codes_of(self, names: Sequence[str]) -> Ints:
        """Return the codes (levels,) of a product added since; -1 for a name that no product of the catalogue has."""
        if self._code_by_name is None:
            self._code_by_name = [_code_by_name(vocabulary) for vocabulary in self.names]
        codes = [codes.get(name, -1) for codes, name in zip(self._code_by_name, names, strict=True)]
        return np.array(codes, np.int32)


def _code_by_name(names: Sequence[str]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}
