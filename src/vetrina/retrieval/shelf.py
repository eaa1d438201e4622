"""The catalogue as serving sees it: ids, titles, and the columns that filters and facets use."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.delta import FILTERS
from vetrina.core.errors import BadInput
from vetrina.core.types import Catalogue

_CODED = ("category", "brand")
_NUMBERS = ("price", "stock")


def write(catalogue: Catalogue, folder: Path) -> None:
    """Arrays that open by memory-mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", catalogue.product_ids)
    titles = [t.encode() for t in catalogue.titles]
    np.save(folder / "titles.npy", np.frombuffer(b"".join(titles), np.uint8))
    np.save(folder / "title_ends.npy", np.cumsum([len(t) for t in titles]).astype(np.int64))
    for name, values in (("category", catalogue.categories), ("brand", catalogue.brands)):
        names, codes = np.unique(np.array(values, dtype=object), return_inverse=True)
        (folder / f"{name}.json").write_bytes(msgspec.json.encode([str(n) for n in names]))
        np.save(folder / f"{name}.npy", codes.astype(np.int32))
    np.save(folder / "price.npy", catalogue.prices)
    np.save(folder / "stock.npy", catalogue.stock)
    np.save(folder / "logged.npy", np.array(catalogue.logged))


class Shelf:
    """Opens what ``write`` wrote. Items are catalogue indices; changes up to number ``logged`` of the log are inside."""

    def __init__(self, folder: Path) -> None:
        self.ids = np.load(folder / "ids.npy", mmap_mode="r")
        self._folder = folder
        self._titles = np.load(folder / "titles.npy", mmap_mode="r")
        self._ends = np.load(folder / "title_ends.npy", mmap_mode="r")
        self._codes = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _CODED}
        self._numbers = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NUMBERS}
        self.logged = int(np.load(folder / "logged.npy"))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return {n: msgspec.json.decode((self._folder / f"{n}.json").read_bytes(), type=list[str]) for n in _CODED}

    def index_of(self, product_ids: Sequence[str]) -> NDArray[np.int32]:
        """Index of each id, -1 for unknown ones. The ids are sorted."""
        asked = np.array(list(product_ids), dtype=np.str_)
        if not len(asked) or not len(self.ids):
            return np.full(len(asked), -1, np.int32)
        at = np.minimum(np.searchsorted(self.ids, asked), len(self.ids) - 1)
        return np.where(self.ids[at] == asked, at, -1).astype(np.int32)

    def title(self, item: int) -> str:
        """Title of one product."""
        start = int(self._ends[item - 1]) if item else 0
        return self._titles[start : int(self._ends[item])].tobytes().decode()

    def mask(self, filters: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """(items,) True where all ``filters`` hold; None without filters.

        ``{"brand": "X"}``, ``{"category": ["A", "B"]}`` (a category also holds those below it), ``{"price": {"min": 1,
        "max": 9}}``, ``{"in_stock": true}``. Raises BadInput for a field that cannot be filtered.
        """
        if not filters:
            return None
        mask = np.ones(len(self), bool)
        for field, wanted in filters.items():
            if field in _CODED:
                mask &= self._of_names(field, wanted if isinstance(wanted, list) else [wanted])
            elif field in _NUMBERS and isinstance(wanted, Mapping):
                values = self._numbers[field]
                mask &= (values >= wanted.get("min", -np.inf)) & (values <= wanted.get("max", np.inf))
            elif field == "in_stock":
                mask &= ~(self._numbers["stock"] <= 0) == bool(wanted)
            else:
                raise BadInput(f"filters.{field}", "cannot be filtered so", FILTERS)
        return mask

    def facets(self, items: NDArray[np.int32], fields: Sequence[str], most: int = 20) -> dict[str, dict[str, int]]:
        """How many of ``items`` have each value, most frequent first."""
        found: dict[str, dict[str, int]] = {}
        for field in fields:
            if field not in _CODED:
                raise BadInput(f"facets: {field}", "has no facet", "use category or brand")
            counts = np.bincount(self._codes[field][items], minlength=len(self._names[field]))
            order = [int(i) for i in np.argsort(-counts, kind="stable")[:most] if counts[i]]
            found[field] = {self._names[field][i]: int(counts[i]) for i in order if self._names[field][i]}
        return found

    def coded(self, name: str) -> tuple[list[str], NDArray[np.int32]]:
        """The distinct values of category or brand, and the number (items,) of each product's."""
        return self._names[name], self._codes[name]

    def sort_key(self, name: str) -> NDArray[np.float64]:
        """(items,) numbers to sort by."""
        if name not in _NUMBERS:
            raise BadInput(f"sort: {name}", "is no sort order", "use price, -price, stock or -stock")
        return self._numbers[name]

    def _of_names(self, field: str, wanted: list[str]) -> NDArray[np.bool_]:
        names = self._names[field]
        codes = [i for i, n in enumerate(names) if any(n == w or n.startswith(f"{w} > ") for w in wanted)]
        return np.isin(self._codes[field], codes)
