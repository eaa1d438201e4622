"""Robustness checks: typos in queries, missing cells in rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import EvaluationData, Judgments

_MISSING_SHARE = 0.1  # of the cells of a table
_MIN_WORD_LENGTH = 4  # letters of a word that gets a typo


@dataclass(frozen=True)
class PerturbedData:
    """Perturbed evaluation data; ``code`` and ``description`` name the perturbation for machines and people."""

    code: str
    description: str
    evaluation_data: EvaluationData


def perturb_data(evaluation_data: EvaluationData, seed: int = 42) -> Iterator[PerturbedData]:
    """Every perturbation that applies to the data and leaves its right answers as they are."""
    rng = np.random.default_rng(seed)
    if evaluation_data.judgments is not None:
        judgments = _add_typos(evaluation_data.judgments, rng)
        yield PerturbedData("misspelt", "with a typo in every query", replace(evaluation_data, judgments=judgments))
    if evaluation_data.table is not None:
        table = _drop_cells(evaluation_data.table, rng)
        description = f"with {_MISSING_SHARE:.0%} of the cells missing"
        yield PerturbedData("holes", description, replace(evaluation_data, table=table))


def add_typo(query: str, rng: np.random.Generator) -> str:
    """The query with one typo inside its longest word: two letters swapped, one lost or one doubled; short words stay."""
    words = query.split()
    if not words:
        return query
    longest = max(range(len(words)), key=lambda number: len(words[number]))
    word = words[longest]
    if len(word) < _MIN_WORD_LENGTH:
        return query
    at = int(rng.integers(1, len(word) - 1))
    typo_kind = int(rng.integers(0, 3))
    if typo_kind == 0:
        words[longest] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif typo_kind == 1:
        words[longest] = word[:at] + word[at + 1 :]
    else:
        words[longest] = word[:at] + word[at] + word[at:]
    return " ".join(words)


def _add_typos(judgments: Judgments, rng: np.random.Generator) -> Judgments:
    """Judgments with a typo in each query. Distinct queries stay distinct, because the evaluation units must stay the same."""
    misspelt_queries: set[str] = set()
    misspelt_by_query: dict[str, str] = {}
    for query in dict.fromkeys(judgments.query):
        misspelt = add_typo(query, rng)
        if misspelt in misspelt_queries or misspelt in judgments.query:
            misspelt = query
        misspelt_by_query[query] = misspelt
        misspelt_queries.add(misspelt)
    return replace(judgments, query=tuple(misspelt_by_query[query] for query in judgments.query))


def _drop_cells(table: LabelledTable, rng: np.random.Generator) -> LabelledTable:
    columns: dict[str, NDArray[Any]] = {}
    for name, values in table.columns.items():
        missing = None
        if values.dtype.kind == "f":
            missing = np.nan
        columns[name] = values.copy()
        columns[name][rng.random(len(values)) < _MISSING_SHARE] = missing
    return LabelledTable(columns, table.label)
