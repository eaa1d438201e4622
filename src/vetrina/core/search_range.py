"""Range of a hyper-parameter in a search."""

from typing import NamedTuple


class SearchRange(NamedTuple):
    """Values that a search tries.

    Attributes:
        low: Smallest value.
        high: Largest value.
        is_logarithmic: Whether the values are spread evenly by their logarithm.
        decimals: Decimals that values are rounded to, so that they read well and repeat exactly.
    """

    low: float
    high: float
    is_logarithmic: bool = False
    decimals: int = 4

    def round(self, value: float) -> float:
        """The value as it is used and recorded."""
        return round(value, self.decimals)
