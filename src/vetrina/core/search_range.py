"""Range of a hyper-parameter in a search."""

from typing import NamedTuple


class SearchRange(NamedTuple):
    """Smallest and largest value that a search tries, and whether it tries them evenly by their logarithm."""

    low: float
    high: float
    is_logarithmic: bool = False
