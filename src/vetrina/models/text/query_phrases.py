"""Synthetic query phrases of a catalogue, as distillation data: titles, parts of titles, brands and categories."""

import numpy as np

from vetrina.core.training_data import Catalogue

_SPANS_PER_TITLE = 4
_MAX_SPAN_WORDS = 4


def query_phrases(catalogue: Catalogue, seed: int) -> list[str]:
    """Distinct phrases, sorted: titles, their words, random parts of titles, categories, brands, "brand category"."""
    rng = np.random.default_rng(seed)
    phrases = set[str]()
    for title, category_path, brand in zip(catalogue.titles, catalogue.categories, catalogue.brands, strict=True):
        category = category_path.rsplit(" > ", 1)[-1]
        phrases |= {title, category, brand, f"{brand} {category}".strip()}
        phrases |= set(title.lower().split())
    for title in sorted(set(catalogue.titles)):
        words = title.split()
        for length in rng.integers(1, _MAX_SPAN_WORDS + 1, _SPANS_PER_TITLE):
            if len(words) >= length:
                start = int(rng.integers(0, len(words) - length + 1))
                phrases.add(" ".join(words[start : start + length]))
    return sorted(phrases - {""})
