"""The catalogue at serving: ids, titles, filters, facets and sort keys."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vetrina.bundle import dictionary_encoding
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.core.errors import BadInput
from vetrina.core.filters import CATEGORICAL_FIELDS, NO_FILTERS, NUMERIC_FIELDS, Filters, with_ancestors


class CatalogueIndex:
    """The catalogue that ``write_catalogue`` wrote, with changes of the event log up to ``last_seq``."""

    def __init__(self, folder: Path) -> None:
        self._ids = np.load(folder / "ids.npy", mmap_mode="r")
        self._folder = folder
        self._titles = np.load(folder / "titles.npy", mmap_mode="r")
        self._title_ends = PackedIntegers(folder, "title_ends")[:]
        self._title_of = PackedIntegers(folder, "title_of")[:]
        self._codes = {name: PackedIntegers(folder, name)[:] for name in CATEGORICAL_FIELDS}
        self._numbers = {name: dictionary_encoding.load(folder, name) for name in NUMERIC_FIELDS}
        self.last_seq = int(np.load(folder / "last_seq.npy"))

    def __len__(self) -> int:
        return len(self._ids)

    def product_id(self, item: int) -> str:
        """Return the id of one product."""
        return self._ids[item].decode()

    @cached_property
    def _field_values(self) -> dict[str, list[str]]:
        return {
            n: msgspec.json.decode((self._folder / f"{n}.json").read_bytes(), type=list[str])
            for n in CATEGORICAL_FIELDS
        }

    def index_of(self, product_ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the index of each id (n,), -1 for unknown ones."""
        encoded_ids = np.array([p.encode("utf-8", "surrogatepass") for p in product_ids], np.bytes_)
        if not len(encoded_ids) or not len(self):
            return np.full(len(encoded_ids), -1, np.int32)
        # Cut to the width of the sorted ids, else numpy would widen all of them; an id that was cut equals none of them.
        index = np.minimum(self._ids.searchsorted(encoded_ids.astype(self._ids.dtype)), len(self) - 1)
        return np.where(self._ids[index] == encoded_ids, index, -1).astype(np.int32)

    def title(self, item: int) -> str:
        """Return the title of one product."""
        at = int(self._title_of[item])
        start = int(self._title_ends[at - 1]) if at else 0
        return self._titles[start : int(self._title_ends[at])].tobytes().decode()

    @cached_property
    def _codes_below(self) -> dict[str, dict[str, list[int]]]:
        """By field and value: the codes of the value and, of a category, of those below it."""
        codes_by_field = {}
        for field, names in self._field_values.items():
            codes_below: dict[str, list[int]] = {}
            for code, name in enumerate(names):
                for ancestor in with_ancestors(name):
                    codes_below.setdefault(ancestor, []).append(code)
            codes_by_field[field] = codes_below
        return codes_by_field

    def filter_mask(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Return where all ``filters`` hold (items,); None without filters."""
        if filters == NO_FILTERS:
            return None
        mask = np.ones(len(self), bool)
        for field in CATEGORICAL_FIELDS:
            allowed_values = filters.allowed_values(field)
            if allowed_values is not None:
                mask &= self._has_field_value(field, allowed_values)
        for field in NUMERIC_FIELDS:
            allowed_range = filters.allowed_range(field)
            if allowed_range is not None:
                values = self._numbers[field]
                mask &= (values >= allowed_range.low()) & (values <= allowed_range.high())
        if filters.in_stock is not UNSET:
            mask &= ~(self._numbers["stock"] <= 0) == filters.in_stock
        return mask

    def facets(
        self, items: NDArray[np.int32], fields: Sequence[str], max_values: int = 20
    ) -> dict[str, dict[str, int]]:
        """Return how many of ``items`` have each value of some fields, most frequent first.

        Args:
            items: (n,) catalogue indices.
            fields: Names of categorical fields.
            max_values: Number of values a field.
        """
        facets: dict[str, dict[str, int]] = {}
        for field in dict.fromkeys(fields):
            if field not in CATEGORICAL_FIELDS:
                raise BadInput(f"facets: {field}", "has no facet", "use category or brand")
            counts = np.bincount(self._codes[field][items], minlength=len(self._field_values[field]))
            order = [int(i) for i in np.argsort(-counts, kind="stable")[:max_values] if counts[i]]
            facets[field] = {
                self._field_values[field][i]: int(counts[i]) for i in order if self._field_values[field][i]
            }
        return facets

    def field_codes(self, field: str) -> tuple[list[str], NDArray[np.int32]]:
        """Return the distinct values of category or brand, and the code (items,) of each product."""
        return self._field_values[field], self._codes[field]

    def sort_key(self, field: str) -> NDArray[np.float64]:
        """Return the numbers (items,) to sort by.

        Raises:
            BadInput: The field has no numbers.
        """
        if field not in NUMERIC_FIELDS:
            raise BadInput(f"sort: {field}", "is no sort order", "use price, -price, stock or -stock")
        return self._numbers[field]

    def _has_field_value(self, field: str, allowed_values: frozenset[str]) -> NDArray[np.bool_]:
        is_allowed = np.zeros(len(self._field_values[field]), bool)
        for value in allowed_values:
            is_allowed[self._codes_below[field].get(value, [])] = True
        return is_allowed[self._codes[field]]
