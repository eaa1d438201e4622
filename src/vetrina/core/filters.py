"""Filters of a request: the values that products may have, field by field, and their one parser.

Every way a request comes in (HTTP, the Python API, a logged request that is replayed) ends in ``Filters``: a field or a value
that is not understood is refused, never ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vetrina.core.errors import BadInput
from vetrina.core.limits import MAX_FILTER_VALUE_CHARS, MAX_FILTER_VALUES, MAX_NUMBER

CATEGORICAL_FIELDS = ("category", "brand")
NUMERIC_FIELDS = ("price", "stock")
CATEGORY_SEPARATOR = " > "
FILTERS_WAY_OUT = 'use category, brand, in_stock, stock, or {"price": {"min": 1, "max": 9}}'

# Without a pattern: msgspec 0.22 crashes as it frees a union of text and a list in which the text has one.
_Value = Annotated[str, Meta(max_length=MAX_FILTER_VALUE_CHARS)]
_Values = Annotated[list[_Value], Meta(max_length=MAX_FILTER_VALUES)]
_Bound = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]


class NumberRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Numbers from ``min`` to ``max``, both included; a missing bound is none."""

    min: _Bound | UnsetType = UNSET
    max: _Bound | UnsetType = UNSET

    def low(self) -> float:
        """The lower bound, minus infinity where there is none."""
        return -float("inf") if self.min is UNSET else float(self.min)

    def high(self) -> float:
        """The upper bound, infinity where there is none."""
        return float("inf") if self.max is UNSET else float(self.max)


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What products must be to be answered; without a field, any product.

    Attributes:
        category: One of these categories, or one below them.
        brand: One of these brands.
        price: The price lies in this range; a product without a price does not.
        stock: The number in stock lies in this range.
        in_stock: Whether the product is in stock; one of unknown stock is.
    """

    category: _Value | _Values | UnsetType = UNSET
    brand: _Value | _Values | UnsetType = UNSET
    price: NumberRange | UnsetType = UNSET
    stock: NumberRange | UnsetType = UNSET
    in_stock: bool | UnsetType = UNSET

    def allowed_values(self, field: str) -> frozenset[str] | None:
        """The allowed values of category or brand; None for any."""
        wanted = getattr(self, field)
        if wanted is UNSET:
            return None
        if isinstance(wanted, str):
            return frozenset((wanted,))
        return frozenset(wanted)

    def allowed_range(self, field: str) -> NumberRange | None:
        """The allowed range of price or stock; None for any."""
        wanted = getattr(self, field)
        return None if wanted is UNSET else wanted

    def match(self, product: Mapping[str, Any]) -> bool:
        """Whether a product passes, by the same rules as ``CatalogueIndex.filter_mask``."""
        for field in CATEGORICAL_FIELDS:
            allowed = self.allowed_values(field)
            if allowed is not None and allowed.isdisjoint(with_ancestors(str(product.get(field) or ""))):
                return False
        for field in NUMERIC_FIELDS:
            allowed_range = self.allowed_range(field)
            if allowed_range is not None and not _is_within(product.get(field), allowed_range):
                return False
        return self.in_stock is UNSET or is_in_stock(product) == self.in_stock


NO_FILTERS = Filters()


def parse_filters(fields: Mapping[str, Any]) -> Filters:
    """The filters of a mapping as JSON has it.

    Raises:
        BadInput: a field has no filter, or its value is of the wrong type or out of bounds; names the field.
    """
    try:
        return msgspec.convert(dict(fields), Filters)
    except msgspec.ValidationError as error:
        raise BadInput("filters", str(error).replace("$.", "filters."), FILTERS_WAY_OUT) from None


def with_ancestors(value: str) -> Iterator[str]:
    """A value and, where it is a path of categories such as "Home > Lamps", all categories above it."""
    end = len(value)
    while end >= 0:
        yield value[:end]
        end = value.rfind(CATEGORY_SEPARATOR, 0, end)


def is_in_stock(product: Mapping[str, Any]) -> bool:
    """Whether a product is in stock; a product of unknown stock is."""
    stock = product.get("stock")
    return stock is None or stock > 0


def _is_within(number: float | None, allowed: NumberRange) -> bool:
    return number is not None and allowed.low() <= number <= allowed.high()
