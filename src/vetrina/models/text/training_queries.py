"""What the query encoder learns from: queries, and the products' texts that answer them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vetrina.core.types import Catalogue, Floats, Ints, Judgments, TrainingData

MIN_SHOP_QUERIES = 200
MIN_PRODUCTS = 2_000
N_SYNTHETIC_QUERIES = 4_000
_MAX_RELEVANT_TEXTS = 200


@dataclass(frozen=True)
class TrainingQuery:
    """A query, rows (n,) of distinct texts and how much each of them is an answer, in sum 1."""

    query: str
    relevant_texts: Ints
    shares: Floats


def training_queries(
    training_data: TrainingData, seed: int, hyperparameters: dict[str, float], text_of: Ints
) -> tuple[list[TrainingQuery], dict[str, float]]:
    """The shop's own queries, or made ones where it has too few; those say less, so they are gone through once.

    None in a small shop, whose products show too little of a language. With the settings that go with them.
    """
    asked = (
        []
        if hyperparameters["made"] or training_data.catalogue is None
        else shop_queries(training_data.judgments, text_of)
    )
    if len(asked) >= MIN_SHOP_QUERIES or training_data.catalogue is None:
        return asked, hyperparameters
    if len(training_data.catalogue) < MIN_PRODUCTS:
        return [], hyperparameters
    return synthetic_queries(training_data.catalogue, text_of, N_SYNTHETIC_QUERIES, seed), {
        **hyperparameters,
        "made": 1,
        "epochs": 1,
        "teacher": 0,
    }


def shop_queries(judgments: Judgments | None, text_of: Ints) -> list[TrainingQuery]:
    """Of the shop: judged pairs, and what shoppers did after a query."""
    found = judgments.by_query() if judgments is not None else {}
    asked = (_training_query(query, text_of[items], grades) for query, (items, grades) in found.items())
    return [one for one in asked if one is not None]


def synthetic_queries(catalogue: Catalogue, text_of: Ints, count: int, seed: int) -> list[TrainingQuery]:
    """``count`` queries made of titles, brands, categories and attributes, where a shop has none of its own yet."""
    rng = np.random.default_rng(seed)
    carriers: dict[str, list[int]] = {}
    for item in rng.choice(len(catalogue), min(count, len(catalogue)), replace=False).tolist():
        names = [*_candidate_queries(catalogue, item, rng)]
        if names:
            carriers.setdefault(str(rng.choice(names)), [])
    for item in range(len(catalogue)):
        kind = catalogue.categories[item].rsplit(" > ", 1)[-1]
        brand = catalogue.brands[item]
        for name in {kind, brand, f"{brand} {kind}"}:
            if name in carriers:
                carriers[name].append(item)
        title = catalogue.titles[item].split()
        for length in (2, 3):
            for start in range(len(title) - length + 1):
                if (name := " ".join(title[start : start + length])) in carriers:
                    carriers[name].append(item)
    asked = (
        _training_query(query, text_of[items], np.ones(len(items), np.float32)) for query, items in carriers.items()
    )
    return [one for one in asked if one is not None]


def _candidate_queries(catalogue: Catalogue, item: int, rng: np.random.Generator) -> Iterator[str]:
    kind = catalogue.categories[item].rsplit(" > ", 1)[-1]
    brand = catalogue.brands[item]
    if kind:
        yield kind
        if brand:
            yield f"{brand} {kind}"
    title = catalogue.titles[item].split()
    length = int(rng.integers(2, 4))
    if len(title) >= length:
        start = int(rng.integers(0, len(title) - length + 1))
        yield " ".join(title[start : start + length])


def _training_query(query: str, texts: Ints, grades: Floats) -> TrainingQuery | None:
    """None for a query that nothing answers, or nearly everything."""
    rows, at = np.unique(texts, return_inverse=True)
    worth = np.zeros(len(rows), np.float32)
    np.maximum.at(worth, at, grades)
    rows = rows[worth > 0]
    worth = worth[worth > 0]
    if not query.strip() or not 0 < len(rows) <= _MAX_RELEVANT_TEXTS:
        return None
    return TrainingQuery(query, rows.astype(np.int32), worth / worth.sum())
