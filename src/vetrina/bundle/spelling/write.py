"""Writer of the catalogue's words."""

from collections import Counter
from pathlib import Path

import msgspec

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue


def write_word_counts(catalogue: Catalogue, path: Path) -> None:
    """Write every word of the catalogue with the number of its products."""
    texts = zip(
        catalogue.titles,
        catalogue.descriptions,
        catalogue.brands,
        catalogue.categories,
        catalogue.attributes,
        strict=True,
    )
    counts = Counter(word for row in texts for word in set(tokenise(" ".join(row))))
    path.write_bytes(msgspec.json.encode(dict(sorted(counts.items()))))
