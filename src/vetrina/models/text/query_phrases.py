"""What might be asked in a shop: words of its titles, what stands side by side in them, brands and kinds."""

import numpy as np

from vetrina.core.types import Catalogue

_SPANS_PER_TITLE = 4
_MAX_SPAN_WORDS = 4


def query_phrases(catalogue: Catalogue, seed: int) -> list[str]:
    """Distinct texts, sorted: titles, their words, _SPANS parts of each of up to _LONGEST words, and "brand kind"."""
    rng = np.random.default_rng(seed)
    found = set[str]()
    for title, category, brand in zip(catalogue.titles, catalogue.categories, catalogue.brands, strict=True):
        kind = category.rsplit(" > ", 1)[-1]
        found |= {title, kind, brand, f"{brand} {kind}".strip(), *title.lower().split()}
    for title in sorted(set(catalogue.titles)):
        words = title.split()
        for length in rng.integers(1, _MAX_SPAN_WORDS + 1, _SPANS_PER_TITLE):
            if len(words) >= length:
                start = int(rng.integers(0, len(words) - length + 1))
                found.add(" ".join(words[start : start + length]))
    return sorted(found - {""})
