"""Training queries of the query encoder with their relevant product texts: the shop's own or synthetic ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vetrina.core.types import Catalogue, Floats, Ints, Judgments, TrainingData

MIN_SHOP_QUERIES = 200  # queries; with fewer of its own a shop gets synthetic ones
MIN_PRODUCTS = 2_000  # products; a smaller catalogue yields too few distinct queries
N_SYNTHETIC_QUERIES = 4_000
_MAX_RELEVANT_TEXTS = 200  # of one query; more say nothing about it
_TITLE_SPAN_LENGTHS = (2, 3)  # words


@dataclass(frozen=True)
class TrainingQuery:
    """A query, its relevant texts (n,) as rows of the distinct texts, and their shares (n,), which add up to 1."""

    query: str
    relevant_texts: Ints
    shares: Floats


def training_queries(
    training_data: TrainingData, seed: int, hyperparameters: dict[str, float], text_of: Ints
) -> tuple[list[TrainingQuery], dict[str, float]]:
    """The shop's own queries, or synthetic ones where it has too few; none for a small shop.

    Synthetic queries tell less, so there is one epoch of them, and no teacher.

    Args:
        training_data: Catalogue and judgments.
        seed: Of the synthetic queries.
        hyperparameters: Those of ``models/text/model.py``; ``made`` asks for synthetic queries.
        text_of: Row of the distinct text of each product (items,).

    Returns:
        The queries, and the hyper-parameters that suit them.
    """
    catalogue = training_data.catalogue
    if catalogue is None:
        return [], hyperparameters
    own_queries = []
    if not hyperparameters["made"]:
        own_queries = shop_queries(training_data.judgments, text_of)
    if len(own_queries) >= MIN_SHOP_QUERIES:
        return own_queries, hyperparameters
    if len(catalogue) < MIN_PRODUCTS:
        return [], hyperparameters
    queries = synthetic_queries(catalogue, text_of, N_SYNTHETIC_QUERIES, seed)
    return queries, {**hyperparameters, "made": 1, "epochs": 1, "teacher": 0}


def shop_queries(judgments: Judgments | None, text_of: Ints) -> list[TrainingQuery]:
    """The shop's own queries: judged pairs, and clicks and purchases after a query; ``text_of`` (items,)."""
    if judgments is None:
        return []
    queries = []
    for query, (items, grades) in judgments.by_query().items():
        training_query = _training_query(query, text_of[items], grades)
        if training_query is not None:
            queries.append(training_query)
    return queries


def synthetic_queries(catalogue: Catalogue, text_of: Ints, count: int, seed: int) -> list[TrainingQuery]:
    """Queries made of categories, brands and parts of titles, for a shop that has none of its own yet.

    Args:
        catalogue: The products.
        text_of: Row of the distinct text of each product (items,).
        count: Products from which a query is made, each from one.
        seed: Of the random choice.

    Returns:
        At most ``count`` distinct queries; every product whose text contains a query is relevant to it.
    """
    rng = np.random.default_rng(seed)
    items_of: dict[str, list[int]] = {}
    for item in rng.choice(len(catalogue), min(count, len(catalogue)), replace=False).tolist():
        candidates = list(_candidate_queries(catalogue, item, rng))
        if candidates:
            items_of.setdefault(str(rng.choice(candidates)), [])
    for item in range(len(catalogue)):
        for phrase in _phrases_of(catalogue, item):
            if phrase in items_of:
                items_of[phrase].append(item)
    queries = []
    for query, items in items_of.items():
        training_query = _training_query(query, text_of[items], np.ones(len(items), np.float32))
        if training_query is not None:
            queries.append(training_query)
    return queries


def _phrases_of(catalogue: Catalogue, item: int) -> Iterator[str]:
    """All phrases that can be a synthetic query for which a product is relevant; one of a title may repeat."""
    category = _leaf_category(catalogue, item)
    brand = catalogue.brands[item]
    yield from {category, brand, f"{brand} {category}"}
    words = catalogue.titles[item].split()
    for length in _TITLE_SPAN_LENGTHS:
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _candidate_queries(catalogue: Catalogue, item: int, rng: np.random.Generator) -> Iterator[str]:
    """A product's category, its brand and category, and a random part of its title."""
    category = _leaf_category(catalogue, item)
    brand = catalogue.brands[item]
    if category:
        yield category
        if brand:
            yield f"{brand} {category}"
    words = catalogue.titles[item].split()
    length = int(rng.integers(_TITLE_SPAN_LENGTHS[0], _TITLE_SPAN_LENGTHS[-1] + 1))
    if len(words) >= length:
        start = int(rng.integers(0, len(words) - length + 1))
        yield " ".join(words[start : start + length])


def _leaf_category(catalogue: Catalogue, item: int) -> str:
    """The last level of a product's category path."""
    return catalogue.categories[item].rsplit(" > ", 1)[-1]


def _training_query(query: str, texts: Ints, grades: Floats) -> TrainingQuery | None:
    """A query with the best grade of each of its texts; None if no text is relevant, or too many are."""
    rows, inverse = np.unique(texts, return_inverse=True)
    best_grades = np.zeros(len(rows), np.float32)
    np.maximum.at(best_grades, inverse, grades)
    rows = rows[best_grades > 0]
    best_grades = best_grades[best_grades > 0]
    if not query.strip() or not 0 < len(rows) <= _MAX_RELEVANT_TEXTS:
        return None
    return TrainingQuery(query, rows.astype(np.int32), best_grades / best_grades.sum())
